from __future__ import annotations

from pathlib import Path

import pytest

from jan_server.store import Store
from jan_server.store.formats import Generation

TODAYS = "threads/0f3c1c9e-5a41-4c1f-9b53-0d1a2b3c4d5e"


def made(root: Path, *folders: str, chosen: Generation | None = None) -> Store:
    for folder in folders:
        (root / folder).mkdir(parents=True)
    return Store(root, fsync=False, generation=chosen).open()


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ((), "A"),
        (("threads/jan_1705312345",), "A"),
        (("threads/0f3c1c9e",), "A"),
        (("threads/jan_1705312345", TODAYS), "C"),
        (("llamacpp",), "C"),
        (("store.json",), "C"),
    ],
    ids=["fresh", "Jan 0.4's", "no UUID", "a thread of today's", "its models", "its store"],
)
def test_new_files_have_the_shape_of_the_folder(
    tmp_path: Path, folders: tuple[str, ...], expected: str
) -> None:
    assert made(tmp_path, *folders).generation == expected


def test_a_thread_of_todays_jan_that_comes_later_counts(tmp_path: Path) -> None:
    store = made(tmp_path)
    assert store.generation == "A"
    (tmp_path / TODAYS).mkdir(parents=True)
    assert store.generation == "C"


@pytest.mark.parametrize("chosen", ["A", "C"])
def test_what_is_chosen_holds_whatever_the_folder_shows(tmp_path: Path, chosen: Generation) -> None:
    assert made(tmp_path, TODAYS, chosen=chosen).generation == chosen
    assert made(tmp_path / "fresh", chosen=chosen).generation == chosen
