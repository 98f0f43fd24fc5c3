"""A reply that grows: shown at once, on the disk every half second, one line in the end."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jan_server.errors import (
    AlreadyExists,
    DiskFull,
    InvalidId,
    JanError,
    NotFound,
    WriteFailed,
    WriteUncertain,
)
from jan_server.store import Messages, Store
from jan_server.store.document import written_line
from jan_server.store.files import Files
from jan_server.store.locks import Locks
from jan_server.store.replies import SAVE_EVERY, Replies, Reply
from tests.store.conftest import write
from tests.store.failing import FailingSystem

GIVEN = {"role": "assistant", "assistant_id": "jan", "run_id": "run_1"}


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def replies(store: Store, clock: Clock) -> Replies:
    return replies_of(store, clock=clock)


@pytest.fixture
def thread(store: Store) -> Messages:
    return store.messages("one")


def replies_of(store: Store, **more: Any) -> Replies:
    """As another process on the folder has them: with locks of its own."""
    work = store.root / ".jan_server"
    return Replies(store.files, Locks(work / "locks"), torn=work / "torn", **more)


def shown(replies: Replies, thread: Messages) -> list[tuple[str, str, str]]:
    """What a list shows: id, text and status, the status of the first line left out."""
    listed = replies.merged(thread, thread.folder(), thread.lines)
    return [(m.id, text(m.value), m.value["status"]) for m in listed[1:]]


def text(value: Any) -> str:
    content = value["content"]
    return content if isinstance(content, str) else content[0]["text"]["value"]


def lines(root: Path, thread: str = "one") -> list[tuple[str, str, str]]:
    """What the file holds after its first line."""
    raw = (root / "threads" / thread / "messages.jsonl").read_text()
    values = [json.loads(line) for line in raw.splitlines()[1:]]
    return [(value["id"], text(value), value["status"]) for value in values]


def reply_files(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "threads").rglob(".reply-*"))


def torn(root: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in (root / ".jan_server").glob("torn/*"))


def test_a_reply_is_shown_from_its_beginning_to_its_end(
    root: Path, replies: Replies, thread: Messages
) -> None:
    with replies.begin(thread, {**GIVEN, "id": "r"}) as reply:
        assert shown(replies, thread) == [("r", "", "in_progress")]
        reply.grow("Hello")
        reply.grow(", you")
        reply.save()
        assert shown(replies, thread) == [("r", "Hello, you", "in_progress")]
        assert lines(root) == []
        line = reply.finish()
    assert shown(replies, thread) == lines(root) == [("r", "Hello, you", "ready")]
    assert thread.lines()[-1] == line
    assert (line.value["role"], line.value["assistant_id"], line.value["run_id"]) == (
        "assistant",
        "jan",
        "run_1",
    )
    assert reply_files(root) == []
    assert not [path for path in (root / ".jan_server/locks").rglob("*") if "repl" in path.name]


def test_a_reply_is_saved_by_the_clock_and_not_by_the_piece(
    root: Path, store: Store, thread: Messages, clock: Clock
) -> None:
    path = root / "threads/one/.reply-r.json"
    reply = replies_of(store, clock=clock).begin(thread, {**GIVEN, "id": "r"})
    saves = []
    for number in range(40):
        before = path.stat().st_ino
        clock.now = number * 0.1
        reply.grow(f"{number} ")
        if path.stat().st_ino != before:
            saves.append(number)
            assert json.loads(path.read_bytes())["content"] == reply.text
    assert saves == [5, 10, 15, 20, 25, 30, 35]
    assert 2 * SAVE_EVERY <= 1
    clock.now += 1
    reply.grow("")  # What was not due yet is, as time goes by.
    assert json.loads(path.read_bytes())["content"] == reply.text
    reply.finish()


def test_an_id_is_chosen_that_comes_after_the_threads_last(
    replies: Replies, thread: Messages
) -> None:
    thread.append([{"role": "user", "content": "x", "id": "01HM5ZK3Q2V8W7T6R5N4M3K2J1"}])
    [later] = thread.append([{"role": "user", "content": "x"}])
    with replies.begin(thread, GIVEN) as reply:
        assert reply.id > later.id
        assert repr(reply) == f"<Reply {reply.id} grows, 0 characters>"
        reply.finish(status="incomplete")
        assert repr(reply) == f"<Reply {reply.id} ended, 0 characters>"
    assert [m.value["status"] for m in thread.lines()[-1:]] == ["incomplete"]


def test_an_id_that_is_taken_or_not_allowed_begins_nothing(
    root: Path, replies: Replies, thread: Messages, store: Store
) -> None:
    with pytest.raises(AlreadyExists):
        replies.begin(thread, {**GIVEN, "id": "a"})
    with pytest.raises(InvalidId):
        replies.begin(thread, {**GIVEN, "id": "../a"})
    with pytest.raises(NotFound):
        replies.begin(store.messages("three"), GIVEN)
    assert reply_files(root) == []
    with replies.begin(thread, {**GIVEN, "id": "r"}):
        for other in (replies, replies_of(store)):
            with pytest.raises(AlreadyExists):
                other.begin(thread, {**GIVEN, "id": "r"})
    with pytest.raises(AlreadyExists):  # It is not a line yet, but it will be.
        replies.begin(thread, {**GIVEN, "id": "r"})


def test_what_is_only_closed_is_saved_and_made_a_line_by_the_finder(
    root: Path, replies: Replies, thread: Messages
) -> None:
    with replies.begin(thread, {**GIVEN, "id": "r"}) as reply:
        reply.grow("so far")
    assert lines(root) == []
    assert [m.value["status"] for m in replies.pending(thread.folder())] == ["incomplete"]
    assert shown(replies, thread) == lines(root) == [("r", "so far", "incomplete")]
    assert shown(replies, thread) == lines(root) == [("r", "so far", "incomplete")]
    assert reply_files(root) == []


def test_two_replies_of_a_thread_may_grow_at_once(
    root: Path, replies: Replies, thread: Messages
) -> None:
    one = replies.begin(thread, {**GIVEN, "id": "r1"})
    two = replies.begin(thread, {**GIVEN, "id": "r2"})
    two.finish()
    assert shown(replies, thread) == [("r2", "", "ready"), ("r1", "", "in_progress")]
    one.finish()
    assert [id for id, *_ in lines(root)] == ["r2", "r1"]


def test_another_process_sees_it_grow_and_leaves_it_alone(
    root: Path, store: Store, replies: Replies, thread: Messages
) -> None:
    other = replies_of(Store(root, fsync=False))
    with replies.begin(thread, {**GIVEN, "id": "r"}) as reply:
        other.recover(thread, thread.folder())
        assert shown(other, thread) == [("r", "", "in_progress")]
        reply.finish()
    assert shown(other, thread) == [("r", "", "ready")]


def test_a_folder_that_is_renamed_keeps_its_reply_in_progress(
    root: Path, store: Store, replies: Replies, thread: Messages, caplog: pytest.LogCaptureFixture
) -> None:
    with replies.begin(thread, {**GIVEN, "id": "r"}) as reply:
        reply.grow("so far")
        reply.save()
        (root / "threads/one").rename(root / "threads/renamed")
        renamed = store.messages("renamed")
        assert shown(replies, renamed) == [("r", "so far", "in_progress")]
        with pytest.raises(NotFound):
            reply.finish()
    assert "threads/one/.reply-r.json lacks what came last" in caplog.text
    assert shown(replies, renamed) == [("r", "so far", "incomplete")]


def test_a_copied_folder_gets_the_reply_too(
    root: Path, store: Store, replies: Replies, thread: Messages
) -> None:
    with replies.begin(thread, {**GIVEN, "id": "r"}) as reply:
        shutil.copytree(root / "threads/one", root / "threads/copy")
        reply.grow("whole")
        reply.finish()
    assert shown(replies, thread) == [("r", "whole", "ready")]
    assert shown(replies, store.messages("copy")) == [("r", "", "incomplete")]


GROW = """
import sys, itertools
from pathlib import Path
from jan_server.store import Store
from jan_server.store.locks import Locks
from jan_server.store.replies import Replies

root = Path(sys.argv[1])
store = Store(root)
clock = itertools.count().__next__
replies = Replies(store.files, Locks(root / ".jan_server/locks"),
                  torn=root / ".jan_server/torn", clock=clock)
reply = replies.begin(store.messages("one"), {"role": "assistant", "id": "r"})
for number in itertools.count():
    reply.grow(f"{number} ")
    print(number, flush=True)
"""

FIND = """
import sys
from pathlib import Path
from jan_server.store import Store
from jan_server.store.locks import Locks
from jan_server.store.replies import Replies

root = Path(sys.argv[1])
store = Store(root, fsync=False)
replies = Replies(store.files, Locks(root / ".jan_server/locks"), torn=root / ".jan_server/torn")
messages = store.messages("one")
print("ready", flush=True)
sys.stdin.readline()
replies.recover(messages, messages.folder())
"""


def program(text: str, root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", text, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_a_killed_writer_saved_is_found_once(
    root: Path, replies: Replies, thread: Messages
) -> None:
    with program(GROW, root) as writer:
        assert writer.stdout
        said = [int(writer.stdout.readline()) for _ in range(20)]
        assert [status for _, _, status in shown(replies, thread)] == ["in_progress"]
        writer.kill()
    [(id, found, status)] = shown(replies, thread)
    assert (id, status) == ("r", "incomplete")
    assert found.startswith("".join(f"{number} " for number in said))
    assert lines(root) == [(id, found, status)]
    assert reply_files(root) == []


def test_two_processes_that_find_replies_at_once_make_one_line_of_each(root: Path) -> None:
    names = [f"r{number:02}" for number in range(30)]
    for name in names:
        value = {"role": "assistant", "content": name, "status": "in_progress"}
        write(root / f"threads/one/.reply-{name}.json", json.dumps(value))
    finders = [program(FIND, root) for _ in range(2)]
    for finder in finders:
        assert finder.stdout
        assert finder.stdout.readline() == "ready\n"
    for finder in finders:
        assert finder.stdin
        finder.stdin.write("go\n")
        finder.stdin.flush()
    for finder in finders:
        finder.communicate(timeout=60)
        assert finder.returncode == 0
    assert sorted(lines(root)) == [(name, name, "incomplete") for name in names]
    assert reply_files(root) == []


@pytest.mark.parametrize("text_of_line", ["so far", "so far, and to the end"])
def test_a_crash_between_the_line_and_the_files_removal_leaves_one_line(
    text_of_line: str, root: Path, replies: Replies, thread: Messages
) -> None:
    with replies.begin(thread, {**GIVEN, "id": "r"}) as reply:
        reply.grow("so far")
    with (root / "threads/one/messages.jsonl").open("ab") as file:
        file.write(written_line({"id": "r", "content": text_of_line, "status": "ready"}))
    assert shown(replies, thread) == lines(root) == [("r", text_of_line, "ready")]
    assert (reply_files(root), torn(root)) == ([], [])


def test_what_another_line_of_its_id_does_not_say_is_kept(
    root: Path, replies: Replies, thread: Messages, caplog: pytest.LogCaptureFixture
) -> None:
    with replies.begin(thread, {**GIVEN, "id": "r"}) as reply:
        reply.grow("ours")
        reply.save()
        thread.append([{**GIVEN, "id": "r", "content": "theirs"}])
        assert shown(replies, thread) == [("r", "theirs", "ready")]
        assert text(reply.finish().value) == "theirs"
    [kept] = torn(root)
    assert json.loads(kept)["content"] == "ours"
    assert "threads/one/.reply-r.json: another message has its id" in caplog.text
    assert lines(root) == [("r", "theirs", "ready")]


BROKEN = {
    b"": "1:1 is empty",
    b"\0" * 40: "1:1 holds nothing but zeros",
    b'{"role": "assistant", "content": "so f': "1:34 a string that begins here does not end",
    b"[]": "1:1 expected an object with a role and a text",
    b'{"content": "x"}': "1:1 expected an object with a role and a text",
    b'{"role": "assistant", "content": 1}': "1:1 expected an object with a role and a text",
}


@pytest.mark.parametrize("data", BROKEN)
def test_a_broken_reply_is_kept_elsewhere_and_reported(
    data: bytes,
    root: Path,
    replies: Replies,
    thread: Messages,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(root / "threads/one/.reply-r.json", data)
    assert replies.pending(thread.folder()) == []
    assert shown(replies, thread) == lines(root) == []
    assert (reply_files(root), torn(root)) == ([], [data])
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"threads/one/.reply-r.json: {BROKEN[data]}; it is kept as .jan_server")


def test_what_only_looks_like_a_reply_is_left_alone(
    root: Path, replies: Replies, thread: Messages
) -> None:
    whole = json.dumps({"role": "assistant", "content": "x"})
    write(root / "outside.json", whole)
    (root / "threads/one/.reply-link.json").symlink_to(root / "outside.json")
    for name in (".reply-.json", ".reply-a b.json", ".reply-a.json.swp", "reply-a.json"):
        write(root / "threads/one" / name, whole)
    before = sorted(path.name for path in (root / "threads/one").iterdir())
    assert shown(replies, thread) == []
    assert sorted(path.name for path in (root / "threads/one").iterdir()) == before


def test_a_reply_that_cannot_be_read_is_reported_once(
    root: Path, replies: Replies, thread: Messages, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "threads/one/.reply-r.json").mkdir()
    for _ in range(3):
        assert shown(replies, thread) == []
    [record] = caplog.records
    assert record.getMessage().endswith("/.reply-r.json: cannot be read (Is a directory).")


def test_a_thread_that_is_gone_has_no_pending_replies(root: Path, replies: Replies) -> None:
    assert replies.pending(root / "threads/nowhere") == []


def test_a_thread_without_a_reply_costs_no_listing(
    root: Path, replies: Replies, thread: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = root / "threads/one"
    os.utime(folder, (1, 1_000_000_000.5))
    assert replies.pending(folder) == []
    monkeypatch.setattr(os, "listdir", None)
    assert replies.pending(folder) == []
    assert replies.merged(thread, folder, list) == []


def test_what_was_seen_of_folders_is_bounded(
    root: Path, replies: Replies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jan_server.store.replies._MAX_LISTINGS", 2)
    for number in range(5):
        (root / f"threads/{number}").mkdir()
        replies.pending(root / f"threads/{number}")
    assert repr(replies) == "<Replies, 1 folders seen>"


def test_where_no_locks_can_be_had_a_reply_is_shown_and_left_alone(
    root: Path, store: Store, thread: Messages, caplog: pytest.LogCaptureFixture
) -> None:
    with replies_of(store).begin(thread, {**GIVEN, "id": "r"}):
        pass
    shutil.rmtree(root / ".jan_server/locks")
    write(root / ".jan_server/locks", "")
    assert shown(replies_of(store), thread) == [("r", "", "incomplete")]
    assert "threads/one/.reply-r.json stays as it is: " in caplog.text
    assert (lines(root), reply_files(root)) == ([], [".reply-r.json"])


def test_a_read_only_store_shows_what_was_left_and_writes_nothing(
    root: Path, replies: Replies, thread: Messages
) -> None:
    with replies.begin(thread, {**GIVEN, "id": "r"}) as reply:
        reply.grow("so far")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    listed = Store(root, read_only=True).open().messages("one").list()
    assert [(m.id, m.value["status"]) for m in listed[1:]] == [("r", "incomplete")]
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def failing(root: Path, system: FailingSystem, clock: Clock) -> tuple[Replies, Messages]:
    store = Store(root, files=Files(system=system))
    return replies_of(store, clock=clock), store.messages("one")


def test_on_a_full_disk_the_text_is_kept_and_saved_later(root: Path, clock: Clock) -> None:
    system = FailingSystem(code=errno.ENOSPC, for_ever=True)
    replies, thread = failing(root, system, clock)
    reply = replies.begin(thread, {**GIVEN, "id": "r"})
    system.nth = len(system.calls) + 1
    clock.now = 1
    with pytest.raises(DiskFull):
        reply.grow("so ")
    reply.grow("far")  # Not asked again at once.
    with pytest.raises(DiskFull):
        reply.finish()
    system.nth = 0
    assert shown(replies, thread) == [("r", "", "in_progress")]
    reply.finish()
    assert shown(replies, thread) == lines(root) == [("r", "so far", "ready")]


def test_on_a_full_disk_a_found_reply_is_shown_and_said_once(
    root: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    system = FailingSystem(code=errno.ENOSPC, for_ever=True)
    replies, thread = failing(root, system, clock)
    with replies.begin(thread, {**GIVEN, "id": "r"}) as reply:
        reply.grow("so far")
    system.nth = len(system.calls) + 1
    for _ in range(3):
        assert shown(replies, thread) == [("r", "so far", "incomplete")]
    assert len(caplog.records) == 1
    system.nth = 0
    assert shown(replies, thread) == lines(root) == [("r", "so far", "incomplete")]


def test_a_reply_that_cannot_begin_leaves_nothing(root: Path, clock: Clock) -> None:
    system = FailingSystem(1, code=errno.ENOSPC, for_ever=True)
    replies, thread = failing(root, system, clock)
    with pytest.raises(DiskFull):
        replies.begin(thread, {**GIVEN, "id": "r"})
    system.nth = 0
    replies.begin(thread, {**GIVEN, "id": "r"}).finish()
    assert lines(root) == [("r", "", "ready")]


FAILURES: dict[str, dict[str, Any]] = {
    "once": {},
    "for ever": {"for_ever": True},
    "cut": {"cut": True},
    "full for ever": {"for_ever": True, "code": errno.ENOSPC},
}


@pytest.mark.parametrize("failure", FAILURES)
def test_whichever_operation_fails_there_is_one_line_in_the_end(
    failure: str, root: Path, clock: Clock
) -> None:
    number, has_failed = 1, True
    while has_failed:
        folder = root.with_name(str(number))
        shutil.copytree(root, folder)
        has_failed = _survives(folder, FailingSystem(number, **FAILURES[failure]), clock)
        number += 1
    assert number > 10, "the operation was never made to fail"


def _survives(root: Path, system: FailingSystem, clock: Clock) -> bool:
    """Grow a reply with these failures, then let a new process find what is left."""
    saved = _grow(*failing(root, system, clock), clock)
    store = Store(root, fsync=False)
    replies, thread = replies_of(store), store.messages("one")
    listed = shown(replies, thread)
    assert listed == lines(root)
    assert len(listed) <= 1
    assert all(id == "r" and "one two".startswith(said) for id, said, _ in listed)
    if saved is not None:
        [(_, said, _)] = listed
        assert said.startswith(saved)
    assert (reply_files(root), torn(root)) == ([], [])
    return system.has_failed


def _grow(replies: Replies, thread: Messages, clock: Clock) -> str | None:
    """What was confirmed to be saved; None when not even the beginning was."""
    try:
        reply = replies.begin(thread, {**GIVEN, "id": "r"})
    except (WriteFailed, WriteUncertain, DiskFull):
        return None
    saved = ""
    for step in (_piece(reply, clock, "one "), _piece(reply, clock, "two"), reply.finish):
        try:
            step()
        except JanError:
            continue
        saved = reply.text
    reply.close()
    return saved


def _piece(reply: Reply, clock: Clock, piece: str) -> Any:
    def step() -> None:
        clock.now += 1
        reply.grow(piece)

    return step
