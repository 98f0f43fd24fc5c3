"""What is written to a file that we have replaced between its opening and the writing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from jan_server.errors import DiskFull
from jan_server.store import Store, late
from jan_server.store.conflicts import is_conflict
from jan_server.store.late import MOST, LateWriters, has_writer
from jan_server.store.later import Later
from jan_server.store.replacing import TEMPORARY
from tests.store.conftest import until, write

A = b'{"id":"a","role":"user","content":"a"}\n'
LATE = b'{"id":"late","role":"user","content":"late"}\n'


@pytest.fixture
def path(root: Path) -> Path:
    found = root / "threads/one/messages.jsonl"
    write(found, A)
    return found


@pytest.fixture(params=["linux", "darwin", "win32"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first tells who has a file open; the last has no fcntl at all."""
    monkeypatch.setattr(late, "sys", SimpleNamespace(platform=request.param))
    if request.param != "linux":
        monkeypatch.delattr(late.fcntl, "F_SETLEASE", raising=False)


def names(path: Path) -> list[str]:
    return [each.name for each in path.parent.iterdir()]


def copies(path: Path) -> list[bytes]:
    return [path.with_name(name).read_bytes() for name in names(path) if is_conflict(name)]


@contextlib.contextmanager
def written_anew(path: Path, data: bytes) -> Iterator[None]:
    """As today's Jan does it, who found the file before the block and writes after it."""
    with path.open("r+b") as file:
        yield
        file.truncate(0)
        file.write(data)


@pytest.mark.usefixtures("platform")
def test_a_line_that_is_appended_too_late_is_added(store: Store, path: Path) -> None:
    with path.open("ab") as file:
        store.messages("one").modify("a", {"content": "b"})
        file.write(LATE)
    until(lambda: path.read_bytes().endswith(LATE))
    store.close()
    assert [message.id for message in store.messages("one").list()] == ["a", "late"]
    assert sorted(names(path)) == ["messages.jsonl", "thread.json"]


@pytest.mark.usefixtures("platform")
def test_a_file_that_is_written_anew_too_late_is_kept_beside(store: Store, root: Path) -> None:
    path = root / "threads/one/thread.json"
    with written_anew(path, b'{"title":"theirs"}'):
        store.threads.change("one", {"title": "ours"})
    until(lambda: copies(path) == [b'{"title":"theirs"}'])
    assert store.threads.get("one").value["title"] == "ours"


def test_so_is_that_of_an_assistant(store: Store, root: Path) -> None:
    path = root / "assistants/jan/assistant.json"
    with written_anew(path, b'{"name":"theirs"}'):
        store.assistants.change("jan", {"name": "ours"})
    store.close()
    assert copies(path) == [b'{"name":"theirs"}']


def test_what_a_link_leads_to_is_kept_beside_that(store: Store, root: Path) -> None:
    path, link = root / "shared/thread.json", root / "threads/one/thread.json"
    write(path, '{"title":"One"}')
    link.unlink()
    link.symlink_to(path)
    with written_anew(path, b'{"title":"theirs"}'):
        store.threads.change("one", {"title": "ours"})
    store.close()
    assert copies(path) == [b'{"title":"theirs"}']


def test_a_line_that_is_there_already_is_said_again(store: Store, path: Path) -> None:
    yes = b'{"role":"user","content":"yes"}\n'
    write(path, A + yes)
    with path.open("ab") as file:
        store.messages("one").modify("a", {"content": "b"})
        file.write(yes + yes)
    store.close()
    assert path.read_bytes().count(yes) == 3
    assert copies(path) == []


@pytest.mark.parametrize("cut", [Path.unlink, lambda path: write(path, A)])
def test_lines_that_are_gone_again_a_moment_later_stay_beside(
    cut: Callable[[Path], object], store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Callable[[], object]] = []
    monkeypatch.setattr(store.files, "afterwards", looks.append)
    with path.open("ab") as file:
        store.messages("one").modify("a", {"content": "b"})
        file.write(LATE)
    until(lambda: len(looks) == 1)
    cut(path)
    looks.pop()()
    assert copies(path) == [LATE]


def test_what_somebody_types_for_long_is_never_without_a_name(store: Store, path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        store.messages("one").modify("a", {"content": "b"})
        file.write(LATE)
        [temporary] = [each for each in names(path) if each.startswith(TEMPORARY)]
        assert path.with_name(temporary).read_bytes() == A + LATE
    until(lambda: path.read_bytes().endswith(LATE))
    until(lambda: temporary not in names(path))


def test_whoever_still_types_at_the_end_leaves_it_there(store: Store, path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        store.messages("one").modify("a", {"content": "b"})
        file.write(LATE)
        store.close()
        assert path.read_bytes().endswith(LATE)
        file.write(b"more\n")
        [temporary] = [each for each in names(path) if each.startswith(TEMPORARY)]
    assert path.with_name(temporary).read_bytes() == A + LATE + b"more\n"


def test_the_thread_may_be_gone(store: Store, path: Path, root: Path) -> None:
    with path.open("ab") as file:
        store.messages("one").modify("a", {"content": "b"})
        file.write(LATE)
        store.threads.delete("one")
    store.close()
    [kept] = (root / ".jan_server/torn").iterdir()
    assert kept.read_bytes().endswith(LATE)


def test_the_file_may_be_gone(store: Store, path: Path) -> None:
    with path.open("ab") as file:
        store.messages("one").modify("a", {"content": "b"})
        file.write(LATE)
        path.unlink()
    store.close()
    assert copies(path) == [A + LATE]
    assert not path.exists()


def test_where_it_cannot_be_kept_it_stays_where_it_is(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with path.open("ab", buffering=0) as file:
        store.messages("one").modify("a", {"content": "b"})
        file.write(LATE)
        monkeypatch.setattr(store.files, "create", _fail)
    store.close()
    [temporary] = [each for each in names(path) if each.startswith(TEMPORARY)]
    assert path.with_name(temporary).read_bytes() == A + LATE
    assert f"is kept as {path.with_name(temporary)}" in caplog.text


def _fail(*_: object, **__: object) -> None:
    raise DiskFull("The disk is full.")


def test_what_nobody_writes_to_leaves_nothing(tmp_path: Path) -> None:
    kept: list[bytes] = []
    later = Later()
    held = LateWriters(lambda _path, _seen, data: kept.append(data), later=later, delay=0.01)
    for number in range(2 * MOST):
        path = tmp_path / str(number)
        path.write_bytes(b"seen")
        held.hold(os.open(path, os.O_RDONLY), tmp_path / "target", b"seen")
    until(lambda: repr(held) == "<LateWriters, 0 files are held>")
    assert kept == []
    later.close()


def test_no_more_files_are_held_than_may_be(tmp_path: Path) -> None:
    kept: list[bytes] = []
    held = LateWriters(lambda _path, _seen, data: kept.append(data), later=Later(), delay=0.01)
    files = []
    for number in range(MOST + 1):
        file = (tmp_path / str(number)).open("wb", buffering=0)
        files.append(file)
        file.write(b"late")  # First: where there is no room it is looked at without delay.
        held.hold(os.open(file.name, os.O_RDONLY), tmp_path / "target", b"seen")
    until(lambda: kept == [b"late"])
    assert repr(held) == f"<LateWriters, {MOST} files are held>"
    for file in files:
        file.close()
    until(lambda: len(kept) == MOST + 1)


def test_what_nobody_writes_to_is_let_go_when_there_is_no_room(tmp_path: Path) -> None:
    later = Later()
    held = LateWriters(lambda *_: None, later=later, delay=3600)
    for number in range(MOST + 9):
        path = tmp_path / str(number)
        path.write_bytes(b"seen")
        held.hold(os.open(path, os.O_RDONLY), tmp_path / "target", b"seen")
    until(lambda: repr(held) == f"<LateWriters, {MOST} files are held>")
    later.close()
    assert repr(held) == "<LateWriters, 0 files are held>"


def test_at_the_end_all_writers_are_waited_for_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    waits_before: list[int] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        time.sleep(seconds)

    monkeypatch.setattr(late, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    later = Later()
    held = LateWriters(lambda *_: waits_before.append(len(waits)), later=later, delay=0.1)
    with contextlib.ExitStack() as files:
        for number in range(3):
            path = tmp_path / str(number)
            file = files.enter_context(path.open("wb", buffering=0))
            held.hold(os.open(path, os.O_RDONLY), tmp_path / "target", b"seen")
            file.write(b"late")
        later.close()
    assert waits_before == 3 * [len(waits)]


def test_another_program_that_has_it_open_is_known(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    fd = os.open(path, os.O_RDONLY)
    assert not has_writer(fd)
    command = [sys.executable, "-c", f"f = open({str(path)!r}, 'a'); print(1, flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert has_writer(fd)
        other.communicate(b"\n")
    assert not has_writer(fd)
    os.close(fd)
