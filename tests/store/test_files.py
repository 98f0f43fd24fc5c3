"""What the file layer promises by itself."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from jan_server.errors import DataFolderMissing, JanError, WriteFailed, WriteUncertain
from jan_server.store.adding import Adding
from jan_server.store.disk import Disk
from jan_server.store.files import Files
from jan_server.store.late import LateWriters
from jan_server.store.later import Later
from jan_server.store.signature import COARSE_TICK, TICK, Signature, signature_of
from jan_server.store.system import CannotExchange, OperatingSystem
from tests.store.failing import FailingSystem


@pytest.mark.parametrize(
    ("mtime_ns", "age", "expected"),
    [
        (1_700_000_000_123_456_789, 0.0, False),
        (1_700_000_000_123_456_789, TICK * 0.9, False),
        (1_700_000_000_123_456_789, TICK * 1.1, True),
        (1_700_000_000_123_456_789, -60.0, False),
        (1_700_000_000_000_000_000, 1.0, False),
        (1_700_000_000_000_000_000, COARSE_TICK * 1.1, True),
    ],
)
def test_a_signature_is_trusted_once_it_is_older_than_the_clocks_tick(
    mtime_ns: int, age: float, expected: bool
) -> None:
    signature = Signature(mtime_ns=mtime_ns, size=1, inode=1)
    assert signature.is_settled(mtime_ns / 1e9 + age) is expected


class Neighbour(OperatingSystem):
    """At the moment of the replacement `edit` is done to the target by another program.

    Without exchange: as on a file system that has none.
    """

    def __init__(self, edit: Callable[[Path], object], *, has_exchange: bool = True) -> None:
        self._edit = edit
        self._has_exchange = has_exchange
        self._is_done = False

    def exchange(self, one: Path, other: Path) -> None:
        if not self._has_exchange:
            raise CannotExchange
        self._disturb(other)
        super().exchange(one, other)

    def replace(self, src: Path, dst: Path) -> None:
        self._disturb(dst)
        super().replace(src, dst)

    def _disturb(self, target: Path) -> None:
        if not self._is_done:
            self._is_done = True
            self._edit(target)


class PlainSystem(FailingSystem):
    """Has no rename that exchanges."""

    def exchange(self, one: Path, other: Path) -> None:
        raise CannotExchange


def _saved_in_place(path: Path) -> None:
    path.write_text("theirs")


def _saved_by_rename(path: Path) -> None:
    other = path.with_name("editor")
    other.write_text("theirs")
    other.rename(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "thread.json"
    path.write_text("old")
    return path


def only(path: Path) -> str:
    """What the file says; and it is alone in its folder."""
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    return path.read_text()


@pytest.mark.parametrize("system", [OperatingSystem(), PlainSystem()])
@pytest.mark.parametrize(
    ("expected", "displaced"), [(b"old", None), (None, None), (b"older", b"old"), (b"", b"old")]
)
def test_what_is_displaced_comes_back_when_it_is_not_what_was_expected(
    expected: bytes | None, displaced: bytes | None, system: OperatingSystem, path: Path
) -> None:
    files = Files(system=system)
    assert files.replace(path, b"new", expected=expected).displaced == displaced
    files.let_go(path)
    assert only(path) == "new"


@pytest.mark.parametrize(
    ("edit", "has_exchange"),
    [(_saved_in_place, True), (_saved_by_rename, True), (_saved_in_place, False)],
)
def test_what_another_program_wrote_at_the_last_moment_is_not_lost(
    edit: Callable[[Path], object], has_exchange: bool, path: Path
) -> None:
    files = Files(system=Neighbour(edit, has_exchange=has_exchange))
    assert files.replace(path, b"new", expected=b"old").displaced == b"theirs"
    kept = [found.read_text() for found in path.parent.glob(".jan_server-*")]
    assert kept == (["theirs"] if has_exchange else [])
    files.let_go(path)
    assert only(path) == "new"


def test_a_file_that_was_deleted_at_the_last_moment_is_there_again(path: Path) -> None:
    files = Files(system=Neighbour(Path.unlink))
    assert files.replace(path, b"new", expected=b"old").displaced is None
    assert only(path) == "new"


def test_what_is_displaced_need_not_be_held_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more files may be open."""
    later = Later()
    late = LateWriters(lambda *_: None, later=later)
    monkeypatch.setattr(os, "dup", _too_many)
    files = Files(system=PlainSystem(), late=late)
    assert files.replace(path, b"new", expected=b"old").displaced is None
    assert only(path) == "new"
    assert repr(late) == "<LateWriters, 0 files are held>"
    later.close()


def _too_many(_fd: int) -> int:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.parametrize("system", [OperatingSystem(), PlainSystem()])
def test_a_file_that_is_not_there_is_made(system: OperatingSystem, tmp_path: Path) -> None:
    path = tmp_path / "thread.json"
    assert Files(system=system).replace(path, b"new", expected=b"old").displaced is None
    assert only(path) == "new"


def test_what_is_displaced_and_cannot_be_read_is_kept_and_named(path: Path) -> None:
    def made_a_folder(target: Path) -> None:
        target.unlink()
        target.mkdir()
        (target / "inside").write_text("theirs")

    files = Files(system=Neighbour(made_a_folder))
    with pytest.raises(
        WriteUncertain, match=r"is kept as .*/\.jan_server-[0-9a-f]{16}, "
    ) as caught:
        files.replace(path, b"new", expected=b"old")
    [kept] = path.parent.glob(".jan_server-*")
    assert str(kept) in caught.value.message
    assert (kept / "inside").read_text() == "theirs"
    assert path.read_text() == "new"


def test_without_exchange_what_cannot_be_read_afterwards_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ = os.open

    def without_reading(name: Path, flags: int, mode: int = 0o777) -> int:
        return open_(name, os.O_WRONLY if name == path else flags, mode)

    monkeypatch.setattr(os, "open", without_reading)
    with pytest.raises(WriteUncertain, match="could not be read"):
        Files(system=PlainSystem()).replace(path, b"new", expected=b"old")
    assert only(path) == "new"


STEPS = ["open", "fchmod", "write", "fsync"]
FOLDER = ["open", "fsync"]


@pytest.mark.parametrize(
    ("system", "expected", "calls"),
    [
        (FailingSystem(), b"old", [*STEPS, "exchange", "unlink", *FOLDER]),
        (PlainSystem(), b"old", [*STEPS, "replace", *FOLDER]),
        (FailingSystem(), None, [*STEPS, "replace", *FOLDER]),
    ],
)
def test_bytes_are_flushed_before_they_get_the_name_and_the_name_after(
    system: FailingSystem, expected: bytes | None, calls: list[str], path: Path
) -> None:
    Files(system=system).replace(path, b"new", expected=expected)
    assert system.calls == calls


@pytest.mark.parametrize("expected", [b"old", None])
def test_mode_and_owner_stay_and_a_link_is_followed(
    expected: bytes | None, path: Path, tmp_path: Path
) -> None:
    if os.geteuid() == 0:  # Nobody else may give a file away.
        os.chown(path, 12345, 54321)
    path.chmod(0o604)
    link = tmp_path / "link"
    link.symlink_to(path.name)
    before = path.stat()
    Files().replace(link, b"new", expected=expected)
    after = path.stat()
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(after.st_mode) == 0o604
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_only_files_are_replaced_and_appended_to(
    make: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "thread.json"
    make(path)
    for change in (Files().replace, Files().append):
        with pytest.raises(WriteFailed):
            change(path, b"new")
    assert [found.name for found in tmp_path.iterdir()] == ["thread.json"]


def test_an_append_answers_what_the_file_is_then(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    files = Files()
    for data in (b"a\nb\n", b"c\n"):
        assert files.append(path, data) == signature_of(path.stat())
    path.write_text("torn")
    assert files.append(path, b"d\n") == signature_of(path.stat())
    assert path.read_text() == "torn\nd\n"


def test_a_name_is_on_the_disk_before_the_first_line_is(tmp_path: Path) -> None:
    """Whoever made the file may have flushed nothing; that is done once for each file."""
    system = FailingSystem()
    files = Files(system=system)
    path = tmp_path / "messages.jsonl"
    appended = ["write", "fsync"]
    for calls in (
        ["open", "open", *FOLDER, *appended],
        ["open", *appended],
    ):
        files.append(path, b"a\n")
        assert system.calls == calls
        system.calls.clear()
    _saved_by_rename(path)
    files.append(path, b"a\n")
    assert system.calls == ["open", *FOLDER, *appended]
    system.calls.clear()
    Files(system=system).append(path, b"a\n")
    assert system.calls == ["open", *FOLDER, *appended]


def test_names_are_not_remembered_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jan_server.store.adding._MAX_NAMED", 2)
    adding = Adding(Disk())
    for name in "abcde":
        adding.append(tmp_path / name, b"a\n")
        assert 1 <= len(adding._named) <= 2


def test_a_name_that_could_not_be_flushed_is_flushed_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    system = FailingSystem(4)
    files = Files(system=system)
    with pytest.raises(WriteFailed):
        files.append(path, b"a\n")
    files.append(path, b"b\n")
    assert system.calls[4:] == ["open", *FOLDER, "write", "fsync"]
    assert path.read_text() == "b\n"


def test_a_new_file_takes_no_name_that_is_taken(path: Path, tmp_path: Path) -> None:
    files = Files()
    with pytest.raises(FileExistsError):
        files.create(path, b"new")
    assert only(path) == "old"
    path.chmod(0o600)
    files.create(tmp_path / "beside", b"new", like=path)
    files.create(tmp_path / "alone", b"new", like=tmp_path / "not there")
    files.create(tmp_path / "third", b"new")
    assert stat.S_IMODE((tmp_path / "beside").stat().st_mode) == 0o600
    assert (tmp_path / "alone").read_text() == (tmp_path / "third").read_text() == "new"


def test_folders_are_made_below_the_root_and_never_the_root(tmp_path: Path) -> None:
    """Made again, it would stand in the way of the one that was moved away and comes back."""
    root = tmp_path / "jan"
    files = Files(root=root)
    with pytest.raises(DataFolderMissing):
        files.make_folders(root / "threads/one")
    assert not root.exists()
    root.mkdir()
    files.make_folders(root / "threads/one")
    assert (root / "threads/one").is_dir()


def test_a_removed_file_is_gone_and_may_have_been_before(path: Path) -> None:
    system = FailingSystem()
    for _ in range(2):
        Files(system=system).remove(path)
        assert not path.exists()
    assert system.calls == ["unlink", *FOLDER] * 2


def test_a_file_that_cannot_be_removed_is_told(path: Path) -> None:
    with pytest.raises(WriteFailed):
        Files(system=FailingSystem(1)).remove(path)
    with pytest.raises(WriteUncertain):
        Files(system=FailingSystem(3)).remove(path)


FAILED, DONE, UNCERTAIN = ("old", WriteFailed), ("new", None), ("new", WriteUncertain)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FailingSystem, [*[FAILED] * 5, DONE, UNCERTAIN, UNCERTAIN, DONE]),
        (PlainSystem, [*[FAILED] * 5, UNCERTAIN, UNCERTAIN, DONE]),
    ],
)
def test_what_a_replacement_says_when_its_nth_step_fails_is_so(
    kind: type[FailingSystem], expected: list[object], tmp_path: Path
) -> None:
    found: list[object] = []
    for number in range(1, len(expected) + 1):
        path = tmp_path / str(number)
        path.write_text("old")
        raised = None
        try:
            Files(system=kind(number)).replace(path, b"new", expected=b"old")
        except JanError as error:
            raised = type(error)
        found.append((path.read_text(), raised))
    assert found == expected


class Renamer(OperatingSystem):
    """Before or after the first write of lines, another program does something to their file."""

    def __init__(self, edit: Callable[[Path], object], path: Path, *, after: bool) -> None:
        self._edits = [partial(edit, path)]
        self._is_after = after

    def write(self, fd: int, data: bytes, /) -> int:
        if not self._is_after:
            self._disturb()
        written = os.write(fd, data)
        self._disturb()
        return written

    def _disturb(self) -> None:
        while self._edits:
            self._edits.pop()()


def _saved_by_renaming(path: Path) -> None:
    saved = path.with_name("sedX1Y2")
    saved.write_bytes(path.read_bytes().replace(b"hi", b"HI"))
    saved.replace(path)


def _moved_with_its_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


@pytest.mark.parametrize(
    ("edit", "after", "where", "expected"),
    [
        (_saved_by_renaming, False, "one/m", b"HI\nours\n"),
        (_saved_by_renaming, True, "one/m", b"HI\nours\n"),
        (Path.unlink, True, "one/m", b"ours\n"),
        (_moved_with_its_folder, True, "moved/m", b"hi\nours\n"),
    ],
)
def test_lines_are_in_the_file_that_has_the_name_in_the_end(
    edit: Callable[[Path], object], after: bool, where: str, expected: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "one/m"
    path.parent.mkdir()
    path.write_bytes(b"hi\n")
    found = Files(system=Renamer(edit, path, after=after)).append(path, b"ours\n")
    assert (tmp_path / where).read_bytes() == expected
    assert found == signature_of((tmp_path / where).stat())


def test_lines_whose_file_and_folder_are_deleted_are_not_said_to_be_written(tmp_path: Path) -> None:
    path = tmp_path / "one/m"
    path.parent.mkdir()
    path.write_bytes(b"hi\n")

    def deleted(path: Path) -> None:
        shutil.rmtree(path.parent)

    with pytest.raises(WriteFailed):
        Files(system=Renamer(deleted, path, after=True)).append(path, b"ours\n")
