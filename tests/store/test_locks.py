"""Locks hold between threads and between processes, whoever deletes or dies meanwhile."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import portalocker
import pytest
from portalocker.exceptions import LockException

from jan_server.errors import DataFolderMissing, JanError, NotWritable, WriteFailed
from jan_server.store.locks import Locks, file_name

OTHER = """
import sys
from contextlib import ExitStack
from pathlib import Path
from jan_server.store.locks import Locks

locks, held = Locks(Path(sys.argv[1])), ExitStack()
for line in sys.stdin:
    command, _, name = line.rstrip("\\n").partition(" ")
    if command == "hold":
        held.enter_context(locks.hold(name))
        answer = "held"
    elif command == "try":
        with locks.try_hold(name) as is_held:
            answer = str(is_held)
    elif command == "claim":
        answer = str(locks.claim(name) is not None)
    elif command == "release":
        Path(sys.argv[1], "told").write_text("released")
        held.close()
        answer = "released"
    print(answer, flush=True)
"""


class Other:
    """Another process with locks on the same folder."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONUTF8": "1"},
        )

    def tell(self, command: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().rstrip("\n")

    def ask(self, command: str) -> str:
        self.tell(command)
        return self.answer()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / ".jan_server/locks"


@pytest.fixture
def other(folder: Path) -> Iterator[Other]:
    other = Other(folder)
    yield other
    other.process.kill()
    other.process.communicate()


def test_two_processes_exclude_each_other(folder: Path, other: Other) -> None:
    locks = Locks(folder)
    assert other.ask("hold threads/a") == "held"
    with locks.try_hold("threads/a") as is_held:
        assert not is_held
    with locks.try_hold("threads/b") as is_held:
        assert is_held
    other.tell("release")
    with locks.hold("threads/a"):
        # What the other one wrote while it held the lock is there once we have it.
        assert (folder / "told").read_text() == "released"
        assert other.answer() == "released"
        assert other.ask("try threads/a") == "False"
    assert other.ask("try threads/a") == "True"


def test_the_system_gives_back_what_a_killed_process_held(folder: Path, other: Other) -> None:
    locks = Locks(folder)
    assert other.ask("hold a") == "held"
    assert other.ask("claim b") == "True"
    assert locks.claim("b") is None
    other.process.kill()
    with locks.hold("a"):
        other.process.wait()
    claim = locks.claim("b")
    assert claim is not None
    claim.release()


def test_one_thread_may_hold_a_name_twice_and_others_wait(folder: Path, other: Other) -> None:
    locks = Locks(folder)
    seen: list[bool] = []

    def ask() -> None:
        with locks.try_hold("a") as is_held:
            seen.append(is_held)

    def in_another_thread() -> bool:
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        return seen[-1]

    with locks.hold("a"):
        with locks.hold("a"), locks.try_hold("a") as is_held:
            assert is_held
        assert not in_another_thread()
        assert other.ask("try a") == "False"
    assert in_another_thread()
    assert other.ask("try a") == "True"
    assert repr(locks) == "<Locks 0 in use>"


def test_an_error_in_the_block_gives_the_lock_back(folder: Path, other: Other) -> None:
    locks = Locks(folder)
    with pytest.raises(KeyError), locks.hold("a"):
        raise KeyError
    with pytest.raises(KeyError), locks.try_hold("a"):
        raise KeyError
    assert other.ask("try a") == "True"


def test_a_folder_that_was_deleted_is_made_again(folder: Path, other: Other) -> None:
    locks = Locks(folder)
    with locks.hold("a"):
        pass
    shutil.rmtree(folder.parent)
    with locks.hold("a"):
        assert other.ask("try a") == "False"
    assert sorted(path.name for path in folder.iterdir()) == ["@a"]


def test_a_lock_on_a_file_that_has_lost_its_name_is_none(
    folder: Path, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody deletes the file after we have opened it and before we have its lock."""
    lock = portalocker.lock
    deletions = iter([True, True])

    def delayed(fd: int, flags: portalocker.LockFlags) -> None:
        if next(deletions, False):
            (folder / "@a").unlink()
        lock(fd, flags)

    monkeypatch.setattr(portalocker, "lock", delayed)
    with Locks(folder).hold("a"):
        assert other.ask("try a") == "False"


def test_the_data_folder_itself_is_never_made(tmp_path: Path) -> None:
    moved = tmp_path / "moved away"
    with pytest.raises(DataFolderMissing), Locks(moved / ".jan_server/locks").hold("a"):
        pass
    assert not moved.exists()


@pytest.mark.parametrize(
    "name",
    [
        "threads/a",
        "threads/Übersicht 日本",
        "con",
        "a%2Fb",
        "..",
        ".",
        "x" * 255,
        "ü" * 127,
        "🦙" * 63,
    ],
)
def test_every_name_has_a_lock_of_its_own(name: str, folder: Path, other: Other) -> None:
    locks = Locks(folder)
    with locks.hold(name):
        assert other.ask(f"try {name}") == "False"
        assert other.ask(f"try {name}.") == "True"
    assert other.ask(f"try {name}") == "True"
    assert all(path.is_file() and len(path.name) <= 255 for path in folder.iterdir())


def test_names_of_locks_are_told_apart() -> None:
    names = ["threads/a", "threads%2Fa", "threads/a.", "threads\\a", "é", "e\u0301", "con"]
    long = ["x" * 255, "x" * 254, "ü" * 127, "ü" * 126]
    found = {file_name(name) for name in names + long}
    assert len(found) == len(names + long)
    assert file_name("threads/jan_1") == "@threads%2Fjan_1"
    assert {len(file_name(name)) for name in long} == {200}


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    locks = Locks()
    with locks.hold("a"), locks.hold("a"), locks.try_hold("b") as is_held:
        assert is_held
        assert repr(locks) == "<Locks 2 in use>"
    claim = locks.claim("c")
    assert claim is not None
    assert locks.claim("c") is None
    claim.release(forget=True)
    assert locks.claim("c") is not None
    assert list(tmp_path.iterdir()) == []


def test_a_claim_is_no_threads(folder: Path, other: Other) -> None:
    locks = Locks(folder)
    claim = locks.claim("a")
    assert claim is not None
    assert repr(claim) == "<Claim a, held>"
    assert locks.claim("a") is None
    assert other.ask("claim a") == "False"
    thread = threading.Thread(target=claim.release)
    thread.start()
    thread.join()
    assert repr(claim) == "<Claim a, released>"
    assert other.ask("claim a") == "True"
    claim.release()  # Once more takes nothing from who has it now.
    assert locks.claim("a") is None
    assert repr(locks) == "<Locks 0 in use>"


def test_a_claim_that_is_forgotten_leaves_no_file(folder: Path, other: Other) -> None:
    locks = Locks(folder)
    for command in ("claim a", "try a"):
        claim = locks.claim("a")
        assert claim is not None
        assert [path.name for path in folder.iterdir()] == ["@a"]
        claim.release(forget=True)
        assert list(folder.iterdir()) == []
        assert other.ask(command.replace("claim a", "try a")) == "True"


def test_the_files_of_names_that_nobody_has_are_swept_away(folder: Path, other: Other) -> None:
    locks = Locks(folder)
    locks.sweep()  # There is no such folder yet.
    claim = locks.claim("claimed here")
    assert other.ask("hold held there") == "held"
    with locks.hold("gone"), locks.hold("held here"):
        (folder / "@left by a killed one").touch()
    with locks.hold("held here"):
        locks.sweep()
    names = {file_name(name) for name in ("claimed here", "held there", "held here")}
    assert {path.name for path in folder.iterdir()} == names
    assert claim is not None
    claim.release()
    assert other.ask("release") == "released"
    locks.sweep()
    assert [path.name for path in folder.iterdir()] == ["told"]
    assert other.ask("try gone") == "True"


def test_whatever_is_swept_two_never_hold_one_name(folder: Path) -> None:
    done, inside, most = threading.Event(), [], []

    def sweep() -> None:
        while not done.is_set():
            Locks(folder).sweep()

    def hold() -> None:
        locks = Locks(folder)  # Of another one: only the file tells them from each other.
        for _ in range(100):
            with locks.hold("a"):
                inside.append(locks)
                time.sleep(0.001)  # The other one has its chance.
                most.append(len(inside))
                inside.remove(locks)

    sweeper, holders = threading.Thread(target=sweep), [threading.Thread(target=hold) for _ in "ab"]
    for thread in (sweeper, *holders):
        thread.start()
    for thread in holders:
        thread.join()
    done.set()
    sweeper.join()
    assert most == [1] * 200


def test_a_file_that_cannot_be_forgotten_stays(folder: Path) -> None:
    claim = Locks(folder).claim("a")
    assert claim is not None
    shutil.rmtree(folder)
    claim.release(forget=True)
    assert not folder.exists()


def _open_files() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def _file_in_the_way(folder: Path) -> None:
    folder.parent.write_text("not a folder")


def _link_in_the_way(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "@a").symlink_to("elsewhere")


def _link_to_nowhere(folder: Path) -> None:
    folder.parent.symlink_to("nowhere")


@pytest.mark.parametrize("spoil", [_file_in_the_way, _link_in_the_way, _link_to_nowhere])
def test_a_place_without_locks_is_told(spoil: object, folder: Path) -> None:
    assert callable(spoil)
    spoil(folder)
    locks = Locks(folder)
    with pytest.raises(WriteFailed, match=r"^\.jan_server/locks/@a was not changed: "):
        locks.claim("a")
    with pytest.raises(WriteFailed), locks.hold("a"):
        pass
    assert repr(locks) == "<Locks 0 in use>"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.EACCES, NotWritable),
        (errno.EROFS, NotWritable),
        (errno.ENFILE, WriteFailed),
        (errno.ENOENT, WriteFailed),
    ],
)
def test_what_keeps_a_lock_from_being_opened_is_told(
    code: int, kind: type[JanError], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, flags: int, mode: int) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(kind, match=os.strerror(code)), Locks(folder).hold("a"):
        pass


def test_a_file_system_without_locks_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _open_files()

    def none(fd: int, flags: portalocker.LockFlags) -> None:
        cause = OSError(errno.ENOLCK, "No locks available")
        raise LockException(cause, str(cause)) from cause

    monkeypatch.setattr(portalocker, "lock", none)
    with (
        pytest.raises(WriteFailed, match=r"cannot be used for locks \(No locks available\)"),
        Locks(folder).hold("a"),
    ):
        pass
    assert _open_files() == before


def test_too_many_open_files_are_told_and_nothing_stays_held(folder: Path, other: Other) -> None:
    locks = Locks(folder)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as held:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_open_files() + 8, limits[1]))
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        with pytest.raises(WriteFailed, match="Too many open files"):  # noqa: PT012
            for number in range(100):
                held.enter_context(locks.hold(f"threads/{number}"))
    assert [other.ask(f"try threads/{number}") for number in range(10)] == ["True"] * 10
