"""A `pull` that is killed while it downloads: what it left is gone on with."""

from __future__ import annotations

from pathlib import Path

from tests.downloads.killed import Killing


def test_ten_kills_end_in_a_verified_file(tmp_path: Path) -> None:
    outcome = Killing(tmp_path, seed=1).run(10)
    assert (outcome.killed, outcome.wrong) == (10, 0)
    assert outcome.resumed > 0
