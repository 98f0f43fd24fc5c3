"""Which names are copies of what lost, and that such a copy is never lost itself."""

from __future__ import annotations

import errno
import re
import stat
from pathlib import Path

import pytest

from jan_server.errors import DiskFull, WriteFailed
from jan_server.store import merging
from jan_server.store.conflicts import is_conflict, keep_conflict
from jan_server.store.files import TEMPORARY, Files
from tests.store.failing import FailingSystem

MOMENT = r"\d{8}T\d{6}Z"


@pytest.mark.parametrize(
    "name",
    [
        "thread.conflict-20261123T051500Z.json",
        "thread.conflict-20261123T051500Z-2.json",
        "messages.conflict-20261123T051500Z.jsonl",
        "README.conflict-20261123T051500Z",
        "thread.sync-conflict-20261123-051500-ABCDEFG.json",
        "thread.sync-conflict-20261123-051500.json",
        "thread (conflicted copy 2026-11-23 051500).json",
        "thread (ann's conflicted copy 2026-11-23).json",
        "thread (Ann's MacBook Pro's conflicted copy 2026-11-23).json",
        "thread (Conflicted copy).json",
        "thread_conflict-20261123-051500.json",
        "thread (SFConflict ann@example.org 2026-11-23-05-15-00).json",
        "thread_LOCAL_1234.json",
        "thread_REMOTE_1234.json",
        "thread.json.orig",
    ],
)
def test_a_copy_of_what_lost_is_known(name: str) -> None:
    assert is_conflict(name)


@pytest.mark.parametrize(
    "name",
    [
        "thread.json",
        "thread.conflict.json",
        "thread.conflict-2026.json",
        ".conflict-20261123T051500Z.json",
        "conflicted copy.json",
        "jan_1732342342 (copy)",
        "an original.json",
        ".orig",
        "LOCAL_1.json",
        "",
    ],
)
def test_other_names_are_no_conflicts(name: str) -> None:
    assert not is_conflict(name)


@pytest.mark.parametrize(
    "name",
    [
        ".jan_server-0123456789abcdef",
        ".syncthing.thread.json.tmp",
        "~syncthing~thread.json.tmp",
        ".jan_server",
        ".jan_server-",
        ".reply-a.json",
        "thread.tmp",
    ],
)
def test_a_file_that_is_not_whole_is_no_conflict(name: str) -> None:
    assert not is_conflict(name)


@pytest.mark.parametrize("name", ["thread.json", "README", "a.b.jsonl", "🦙.json"])
def test_what_loses_is_kept_beside_the_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("wins")
    path.chmod(0o640)
    copy = keep_conflict(Files(), path, b"loses\xff")
    stem, suffix = map(re.escape, (path.stem, path.suffix))
    assert re.fullmatch(rf"{stem}\.conflict-{MOMENT}{suffix}", copy.name)
    assert (copy.parent, copy.read_bytes()) == (tmp_path, b"loses\xff")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o640
    assert is_conflict(copy.name)
    assert path.read_text() == "wins"


def test_several_of_one_second_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "thread.json"
    copies = [keep_conflict(Files(), path, b"%d" % number) for number in range(20)]
    assert [copy.read_bytes() for copy in copies] == [b"%d" % number for number in range(20)]
    assert all(is_conflict(copy.name) for copy in copies)
    assert any(copy.name.endswith("Z-3.json") for copy in copies)
    assert sorted(tmp_path.iterdir()) == sorted(copies)


@pytest.mark.parametrize("is_full", [False, True])
def test_what_was_displaced_stays_until_its_copy_is_there(is_full: bool, tmp_path: Path) -> None:
    path = tmp_path / "thread.json"
    path.write_text("theirs")
    system = FailingSystem(code=errno.ENOSPC)
    files = Files(system=system)
    theirs = files.replace(path, b"ours", expected=b"old").displaced
    assert theirs == b"theirs"
    system.nth = len(system.calls) + 3 if is_full else 0
    try:
        keep_conflict(files, path, theirs)
    except DiskFull:
        assert is_full
    [kept] = [found for found in tmp_path.iterdir() if found != path]
    assert kept.name.startswith(TEMPORARY) == is_full
    assert (path.read_text(), kept.read_text()) == ("ours", "theirs")


def test_the_copy_of_a_linked_file_lies_where_the_file_does(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "thread.json").symlink_to("real/file.json")
    copy = keep_conflict(Files(), tmp_path / "thread.json", b"loses")
    assert copy.parent == tmp_path / "real"
    assert copy.name.startswith("file.conflict-")


def test_a_copy_that_is_not_on_the_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    system = FailingSystem(3)
    with pytest.raises(WriteFailed):
        keep_conflict(Files(system=system), tmp_path / "thread.json", b"loses")
    assert system.calls == ["open", "write", "fsync", "unlink"]
    assert list(tmp_path.iterdir()) == []


def test_who_writes_again_while_we_merge_loses_neither_writing(tmp_path: Path) -> None:
    path = tmp_path / "thread.json"
    path.write_bytes(b"theirs")

    def merge(theirs: bytes) -> bytes:
        path.write_bytes(b"theirs again")  # What they do in this very moment.
        return b"ours and " + theirs

    merging.replace(Files(), path, b"ours", base=b"old", merge=merge)
    assert path.read_bytes() == b"ours and theirs"
    copies = {copy.read_bytes() for copy in tmp_path.iterdir() if is_conflict(copy.name)}
    assert copies == {b"theirs", b"theirs again"}
