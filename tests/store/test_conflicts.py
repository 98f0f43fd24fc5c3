"""Which names are copies of what lost, and that such a copy is never lost itself."""

from __future__ import annotations

import errno
import itertools
import re
import stat
from pathlib import Path

import pytest

from jan_server.errors import DiskFull, WriteFailed
from jan_server.store import merging
from jan_server.store.conflicts import is_conflict, keep_conflict
from jan_server.store.files import Files
from jan_server.store.late import LateWriters
from jan_server.store.later import Later
from jan_server.store.replacing import TEMPORARY
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


class Neighbour(FailingSystem):
    """Another program that writes to a file in the very moment in which ours takes its name."""

    def __init__(self, *texts: bytes) -> None:
        super().__init__()
        self._texts = [*texts]

    def exchange(self, one: Path, other: Path) -> None:
        if self._texts:
            other.write_bytes(self._texts.pop(0))
        super().exchange(one, other)


def copies(folder: Path) -> set[bytes]:
    return {copy.read_bytes() for copy in folder.iterdir() if is_conflict(copy.name)}


def ours_and(theirs: bytes) -> bytes:
    return b"ours and " + theirs


def test_what_others_have_written_by_then_is_never_displaced(tmp_path: Path) -> None:
    path = tmp_path / "thread.json"
    path.write_bytes(b"theirs")
    texts = [b"theirs again", b"theirs at last"]

    def merge(theirs: bytes) -> bytes:
        path.write_bytes(texts.pop(0) if texts else theirs)
        return ours_and(theirs)

    system = FailingSystem()
    written = merging.replace(Files(system=system), path, b"ours", base=b"old", merge=merge)
    assert (path.read_bytes(), written.is_ours) == (b"ours and theirs at last", False)
    assert system.calls.count("exchange") == 1
    assert list(tmp_path.iterdir()) == [path]


def test_who_never_stops_writing_is_displaced_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "thread.json"
    path.write_bytes(b"theirs")
    numbers = itertools.count()

    def merge(theirs: bytes) -> bytes:
        path.write_bytes(b"theirs %d" % next(numbers))
        return ours_and(theirs)

    merging.replace(Files(), path, b"ours", base=b"old", merge=merge)
    assert path.read_bytes().startswith(b"ours and theirs")
    assert all(copy.startswith(b"theirs") for copy in copies(tmp_path))


def test_who_writes_again_while_we_merge_loses_neither_writing(tmp_path: Path) -> None:
    path = tmp_path / "thread.json"
    path.write_bytes(b"old")
    files = Files(system=Neighbour(b"theirs", b"theirs again"))
    merging.replace(files, path, b"ours", base=b"old", merge=ours_and)
    assert path.read_bytes() == b"ours and theirs"
    assert copies(tmp_path) == {b"theirs", b"theirs again"}


@pytest.mark.parametrize("is_written_back", [False, True])
def test_a_line_that_was_hidden_for_a_moment_stays_beside_when_that_is_written_back(
    is_written_back: bool, tmp_path: Path
) -> None:
    """Today's Jan reads the file while it is without its line, and writes that."""
    path = tmp_path / "messages.jsonl"
    path.write_bytes(b"old\n")
    later = Later()
    late = LateWriters(lambda *_: None, later=later, delay=3600)
    files = Files(system=Neighbour(b"old\ntheirs\n"), late=late)
    merging.replace(
        files, path, b"old\nours\n", base=b"old\n", merge=lambda theirs: theirs + b"ours\n"
    )
    assert path.read_bytes() == b"old\ntheirs\nours\n"
    assert copies(tmp_path) == {b"old\ntheirs\n"}
    if is_written_back:
        path.write_bytes(b"old\nours\n")
    later.close()
    assert copies(tmp_path) == ({b"old\ntheirs\n"} if is_written_back else set())


def test_a_file_that_is_gone_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "thread.json"
    merging.replace(Files(), path, b"ours", base=b"old", merge=ours_and)
    assert path.read_bytes() == b"ours"
