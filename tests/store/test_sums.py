"""Which sums weights had when they were last verified."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from jan_server.store import Store
from tests.store.conftest import write

SUM = "ab" * 32


@pytest.fixture
def path(root: Path) -> Path:
    write(root / "models/m/m.gguf", "weights")
    return root / "models/m/m.gguf"


def record(root: Path) -> Any:
    return json.loads((root / ".jan_server/sums.json").read_text())


def test_what_is_recorded_can_be_read_by_a_person(store: Store, root: Path, path: Path) -> None:
    store.sums.record(path, SUM.upper())
    status = path.stat()
    [(name, entry)] = record(root).items()
    assert name == "models/m/m.gguf"
    assert entry == {
        "sha256": SUM,
        "size": 7,
        "mtime_ns": status.st_mtime_ns,
        "inode": status.st_ino,
        "verified": entry["verified"],
    }
    assert entry["verified"].startswith(time.strftime("%Y-", time.gmtime()))
    assert repr(store.sums) == "<VerifiedSums 1>"


def test_a_file_that_is_as_it_was_has_not_changed(store: Store, path: Path) -> None:
    assert store.sums.changed(path) is None, "nothing is known of it"
    store.sums.record(path, SUM)
    assert store.sums.changed(path) is None


@pytest.mark.parametrize("change", ["written", "replaced", "touched"])
def test_a_file_that_was_changed_since_says_so(store: Store, path: Path, change: str) -> None:
    store.sums.record(path, SUM)
    if change == "written":
        path.write_text("other weights")
    elif change == "replaced":
        old = path.stat()
        path.with_name("new").write_text("WEIGHTS")
        path.with_name("new").replace(path)
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    else:
        os.utime(path, ns=(0, 0))
    changed = store.sums.changed(path)
    assert changed == store.sums.of(path)
    assert changed is not None
    assert changed.sha256 == SUM
    store.sums.record(path, SUM)
    assert store.sums.changed(path) is None


def test_a_file_that_is_gone_is_not_one_that_changed(store: Store, path: Path) -> None:
    store.sums.record(path, SUM)
    path.unlink()
    assert store.sums.changed(path) is None
    store.sums.record(path, "cd" * 32)
    known = store.sums.of(path)
    assert known is not None
    assert known.sha256 == SUM


def test_files_elsewhere_are_named_by_their_whole_path(
    store: Store, root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "away.gguf"
    path.write_text("weights")
    store.sums.record(path, SUM)
    assert list(record(root)) == [str(path)]
    assert store.sums.changed(path) is None


def test_a_name_that_is_not_utf8_is_recorded_too(store: Store, root: Path) -> None:
    path = root / os.fsdecode(b"models/m\xff.gguf")
    path.write_text("weights")
    store.sums.record(path, SUM)
    assert list(record(root)) == [r"models/m\udcff.gguf"]
    path.write_text("other weights")
    assert store.sums.changed(path)


def test_another_process_s_record_is_seen_and_kept(store: Store, root: Path, path: Path) -> None:
    other = Store(root, fsync=False).open()
    write(root / "models/n/n.gguf", "weights")
    for _ in range(3):
        other.sums.record(root / "models/n/n.gguf", SUM)
        assert store.sums.of(root / "models/n/n.gguf")
        store.sums.record(path, SUM)
        assert other.sums.of(path)
    assert list(record(root)) == ["models/m/m.gguf", "models/n/n.gguf"]


@pytest.mark.parametrize("spoilt", [None, "", "{", "[]", '{"models/m/m.gguf": 1}'])
def test_the_record_can_be_lost_or_spoilt(
    store: Store, root: Path, path: Path, spoilt: str | None
) -> None:
    store.sums.record(path, SUM)
    file = root / ".jan_server/sums.json"
    file.unlink()
    if spoilt is not None:
        file.write_text(spoilt)
    path.write_text("other weights")
    assert store.sums.changed(path) is None
    store.sums.record(path, SUM)
    assert list(record(root)) == ["models/m/m.gguf"]


def test_the_whole_of_our_folder_can_go(store: Store, root: Path, path: Path) -> None:
    shutil.rmtree(root / ".jan_server")
    store.sums.record(path, SUM)
    assert store.sums.of(path)


def test_of_a_folder_that_is_only_read_it_lies_in_the_cache(
    root: Path, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.rmtree(root / ".jan_server")
    store = Store(root, fsync=False, read_only=True).open()
    store.sums.record(path, SUM)
    assert store.sums.path.is_relative_to(tmp_path / "cache")
    path.write_text("other weights")
    assert Store(root, read_only=True).sums.changed(path)
    assert not (root / ".jan_server").exists()
