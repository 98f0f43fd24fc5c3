from __future__ import annotations

from pathlib import Path

import pytest

from jan_server.torture import Outcome
from jan_server.torture.record import Finding

LOST = Outcome(
    rounds=3,
    seed=1,
    acknowledged={"messages appended": 1200, "titles changed": 5},
    findings=[Finding("lost", "message m1")],
    folder=Path("kept"),
)


def test_the_last_line_counts(monkeypatch, run):
    monkeypatch.setattr("jan_server.cli.torture.torture", lambda *_, **__: LOST)
    done = run("torture", "--rounds", "3", "--seed", "1")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "lost: message m1",
        "What the server left is in kept",
        "3 kills, 1,205 changes acknowledged (1,200 × messages appended, 5 × titles changed): "
        "1 lost, 0 unreadable, 0 half-made, 0 unexpected (seed 1)",
    ]


def test_the_command_says_that_nothing_was_lost(run, tmp_path):
    done = run("torture", "--rounds", "1", "--folder", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert ": 0 lost, 0 unreadable, 0 half-made, 0 unexpected (seed " in done.stdout


@pytest.mark.parametrize("below", [".", "threads", "threads/a"])
def test_a_data_folder_is_no_place_for_it(run, write, data_folder, below):
    write("threads/a/thread.json", {})
    place = data_folder / below
    done = run("torture", "--folder", str(place))
    assert done.exit_code == 2
    assert f"{data_folder} is a data folder" in done.stderr
