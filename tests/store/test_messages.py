"""Reading a thread: all of it, its end without the rest, and what came since."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jan_server.errors import FileUnreadable, InvalidId, NotFound
from jan_server.events import Event
from jan_server.store import Message, Store, index
from jan_server.store.locks import Locks
from jan_server.store.replies import Replies
from jan_server.store.signature import Signature, signature_at
from jan_server.store.told import QUIET
from tests.store.conftest import CountingFiles, until, write

HI = {"role": "user", "content": "hi"}
A = b'{"id":"a","created":1705312350123}'
B = b'{"id":"b"}'
LONG_AGO = 1_600_000_000


@pytest.fixture
def path(root: Path) -> Path:
    """The messages of a thread that says itself when it was made."""
    write(root / "threads/one/thread.json", '{"created": 1705312345000}')
    return root / "threads/one/messages.jsonl"


def added_since(store: Store, id: str, size: int) -> Sequence[Message] | None:
    messages = store.messages(id)
    return messages._lines.added_since(messages.folder(), size)


def ids(found: Sequence[Message]) -> list[str]:
    return [message.id for message in found]


# The end

PIECES = [
    A,
    B,
    b"{}",
    b'{"created":1757840130}',
    b'{"id":',
    b"",
    A + B,
    b" \t",
    b"\0\0",
    b'{"id":"c","content":"' + b"x" * 3000 + b'"}',
]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.sampled_from(PIECES), max_size=30),
    is_ended=st.booleans(),
    count=st.integers(1, 12),
)
def test_the_last_are_the_end_of_all(
    lines: list[bytes], is_ended: bool, count: int, root: Path, path: Path
) -> None:
    """But for the number of an id that is used twice, which only the whole file tells."""
    path.write_bytes(b"\n".join(lines) + (b"\n" if is_ended else b""))
    found, has_more = Store(root, fsync=False).messages("one").last(count)
    expected = Store(root, fsync=False).messages("one").list()
    shown = [(message.raw, message.seconds) for message in found]
    assert shown == [(message.raw, message.seconds) for message in expected[-count:]]
    assert has_more is (len(expected) > count)


def test_of_a_long_file_only_the_end_is_read(root: Path, path: Path) -> None:
    write(path, b"".join(b'{"id":"m%d","created":%d}\n' % (n, 1.7e9 + n) for n in range(20_000)))
    files = CountingFiles()
    found, has_more = Store(root, files=files).messages("one").last(20)
    assert ids(found) == [f"m{n}" for n in range(19_980, 20_000)]
    assert has_more
    assert files.bytes_read < 2**15


def test_a_missing_time_is_looked_for_as_far_back_as_it_takes(root: Path, path: Path) -> None:
    write(path, A + b"\n" + b"".join(b'{"id":"m%d"}\n' % n for n in range(20_000)))
    found, _ = Store(root, fsync=False).messages("one").last(1)
    assert [(message.id, message.seconds) for message in found] == [("m19999", 1705312350)]


def test_a_long_line_at_the_end_is_read_whole(root: Path, path: Path) -> None:
    write(path, A + b"\n" + b'{"id":"b","content":"' + b"x" * 100_000 + b'"}')
    found, has_more = Store(root, fsync=False).messages("one").last(1)
    assert (ids(found), has_more) == (["b"], True)


def test_what_is_kept_whole_is_not_read_again(root: Path, path: Path) -> None:
    write(path, (A + b"\n") * 3)
    os.utime(path, (LONG_AGO, LONG_AGO + 0.5))
    files = CountingFiles()
    messages = Store(root, files=files).messages("one")
    messages.list()
    files.bytes_read = 0
    found, has_more = messages.last(2)
    assert (ids(found), has_more) == (["a.2", "a.3"], True)
    assert files.bytes_read == 0


def test_no_file_has_no_last_messages(store: Store) -> None:
    assert store.messages("two").last(3) == ([], False)


@pytest.mark.parametrize("whole", [True, False])
def test_a_growing_reply_is_the_last(whole: bool, root: Path, path: Path) -> None:
    write(path, b'{"id":"b","created":1}\n' + A + b"\n")
    os.utime(path, (LONG_AGO, LONG_AGO + 0.5))
    store = Store(root, fsync=False)
    if whole:
        store.messages("one").list()
    work = root / ".jan_server"
    replies = Replies(store.files, Locks(work / "locks"), torn=work / "torn")
    with replies.begin(store.messages("one"), {"role": "assistant", "id": "r"}) as reply:
        reply.grow("so far")
        reply.save()
        assert ids(store.messages("one").list()) == ["b", "a", "r"]
        assert ids(store.messages("one").lines()) == ["b", "a"]
        found, has_more = store.messages("one").last(2)
        assert (ids(found), has_more) == (["a", "r"], True)
        assert store.messages("one").kept("a") is None
        assert store.messages("one").kept_answer("all") is None
        assert store.messages("one").answer("all", lambda m: b"%d" % len(m)) == b"3"
        reply.finish()
    assert ids(store.messages("one").last(2)[0]) == ["a", "r"]


def test_what_a_crash_left_of_a_reply_further_up_is_no_last_message(root: Path, path: Path) -> None:
    lines = [
        b'{"id":"m%d","role":"assistant","content":"so far","created":1}' % n for n in range(5)
    ]
    write(path, b"\n".join(lines) + b"\n")
    write(path.parent / ".reply-m1.json", lines[1])
    found, _ = Store(root, fsync=False).messages("one").last(2)
    assert ids(found) == ["m3", "m4"]


# Answers and messages that are kept


def test_an_answer_is_made_once_while_the_file_stays_as_it_is(root: Path, path: Path) -> None:
    write(path, A + b"\n")
    os.utime(path, (LONG_AGO, LONG_AGO + 0.5))
    messages = Store(root, fsync=False).messages("one")
    made: list[int] = []

    def make(found: Sequence[Message]) -> bytes:
        made.append(1)
        return b"%d" % len(found)

    assert messages.kept_answer("all") is None
    assert messages.answer("all", make) == messages.answer("all", make) == b"1"
    assert messages.kept_answer("all") == b"1"
    assert messages.kept_answer("some") is None
    assert len(made) == 1
    messages.append([HI])
    assert messages.kept_answer("all") is None
    assert messages.answer("all", make) == b"2"


def test_an_answer_whose_times_are_the_threads_is_not_kept(root: Path, path: Path) -> None:
    write(path, B + b"\n")
    os.utime(path, (LONG_AGO, LONG_AGO + 0.5))
    messages = Store(root, fsync=False).messages("one")

    def make(found: Sequence[Message]) -> bytes:
        return b"%d" % found[0].seconds

    assert messages.answer("all", make) == b"1705312345"
    assert (messages.kept_answer("all"), messages.kept("b")) == (None, None)
    write(root / "threads/one/thread.json", '{"created": 1705312349000}')
    assert messages.answer("all", make) == b"1705312349"


def test_one_message_is_kept_with_the_file(root: Path, path: Path) -> None:
    write(path, A + b"\n" + B + b"\n")
    os.utime(path, (LONG_AGO, LONG_AGO + 0.5))
    messages = Store(root, fsync=False).messages("one")
    assert messages.kept("b") is None
    found = messages.get("b")
    assert messages.kept("b") == found
    assert messages.kept("nope") is None
    write(path, A)
    assert messages.kept("b") is None


# What came since


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, ["a", "b"]),
        (len(A) + 1, ["b"]),
        (len(A) + len(B) + 2, []),
        (len(A), None),
        (3, None),
        (1000, None),
    ],
)
def test_what_begins_at_or_behind_a_byte(
    size: int, expected: list[str] | None, store: Store, path: Path
) -> None:
    write(path, A + b"\n" + B + b"\n")
    found = added_since(store, "one", size)
    assert (None if found is None else ids(found)) == expected


@pytest.mark.parametrize(("before", "seconds"), [(A + b"\n", 1705312350), (b"x\n", 1705312345)])
def test_the_time_of_what_was_added_may_be_that_of_the_one_before(
    before: bytes, seconds: int, store: Store, path: Path
) -> None:
    write(path, before + B)
    found = added_since(store, "one", len(before))
    assert found is not None
    assert [message.seconds for message in found] == [seconds]


def test_nothing_was_added_to_no_file(store: Store) -> None:
    assert added_since(store, "two", 0) is None
    assert store.messages("two").changes_since(None).messages == []


def test_what_others_changed_since_it_was_read(root: Path, path: Path) -> None:
    told: list[Event] = []
    store = Store(root, publish=told.append)
    messages = store.messages("one")
    write(path, A + b"\n" + B + b"\n")
    store.threads.index.scan()
    messages.list()
    before = signature_at(path)
    write(path, B[:-1] + b',"x":1}\n{"id":"c"}\n')
    changes, signature, are_all = messages.changes_since(before)
    assert (signature, are_all) == (signature_at(path), True)
    found = [(change, message.id) for change, message in changes]
    assert found == [("updated", "b"), ("created", "c")]
    assert messages.changes_since(signature).messages == []
    until(lambda: ("deleted", "a") in [(event.change, event.id) for event in told])


def test_what_comes_back_at_once_was_never_gone(store: Store, path: Path) -> None:
    messages = store.messages("one")
    write(path, A + b"\n" + B + b"\n")
    store.threads.index.scan()
    messages.list()
    write(path, b"")
    assert messages.changes_since(None) == ([], signature_at(path), True)
    write(path, A + b"\n" + B[:-1] + b',"x":1}\n')
    changes, _, _ = messages.changes_since(None)
    assert [(change, message.id) for change, message in changes] == [("updated", "b")]
    time.sleep(QUIET)
    assert messages.changes_since(None).messages == []


def test_what_others_added_since_is_known_without_having_read_it(store: Store, path: Path) -> None:
    write(path, A + b"\n" + B + b"\n")
    changes, _, _ = store.messages("one").changes_since(Signature(0, len(A) + 1, 0))
    assert [(change, message.id) for change, message in changes] == [("created", "b")]
    assert store.messages("one").changes_since(Signature(0, 3, 0)).messages == []


def test_where_nobody_has_read_what_changed_is_not_known(store: Store, path: Path) -> None:
    write(path, A + b"\n" + B + b"\n")
    assert not store.messages("one").changes_since(Signature(0, 3, 0)).are_all


# What cannot be read

READS: dict[str, Callable[[Store], object]] = {
    "list": lambda store: store.messages("one").list(),
    "last": lambda store: store.messages("one").last(1),
    "get": lambda store: store.messages("one").get("a"),
    "added_since": lambda store: added_since(store, "one", 0),
    "problems": lambda store: store.messages("one").problems(),
}


@pytest.mark.parametrize("name", READS)
def test_a_file_that_is_none_says_so(name: str, store: Store, path: Path) -> None:
    path.unlink()
    path.mkdir()
    with pytest.raises(FileUnreadable, match=r"threads/one/messages\.jsonl: cannot be read"):
        READS[name](store)


@pytest.mark.parametrize("name", READS)
def test_a_link_that_leads_outside_is_not_followed(
    name: str, store: Store, path: Path, tmp_path: Path
) -> None:
    write(tmp_path / "secret.jsonl", A)
    path.unlink()
    path.symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(FileUnreadable, match="leads out of the data folder"):
        READS[name](store)


def test_a_file_that_was_read_and_cannot_be_looked_at_any_more_says_so(
    root: Path, path: Path
) -> None:
    write(path, A)
    os.utime(path, (LONG_AGO, LONG_AGO + 0.5))
    store = Store(root, fsync=False)
    store.messages("one").list()
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(FileUnreadable, match="cannot be read"):
        store.messages("one").kept("a")


@pytest.mark.parametrize(("id", "kind"), [("nope", NotFound), ("a/b", InvalidId)])
def test_an_unknown_message_is_not_found(id: str, kind: type[Exception], store: Store) -> None:
    with pytest.raises(kind):
        store.messages("one").get(id)


def test_all_say_which_thread_they_are_of(store: Store) -> None:
    messages = store.messages("one")
    assert repr(messages) == "<Messages of one>"
    assert repr(messages.appends()) == "<Appends to one>"
    assert repr(messages._lines) == "<Lines of one>"
    assert repr(messages._edits("a")) == "<Edits of one>"


def test_what_is_kept_is_asked_for_without_waiting_for_a_scan(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the event loop: an unknown thread, and a filed one, would hold up everybody else."""
    monkeypatch.setattr(index, "PATIENCE", 0.01)
    store = Store(root, fsync=False)
    with store.threads.index._scanning:
        for id in ("nope", "a/b", "one"):
            assert store.messages(id).kept("a") is None
            assert store.messages(id).kept_answer("all") is None


def test_what_is_left_of_a_reply_can_be_changed_like_any_message(store: Store, path: Path) -> None:
    left = path.parent / ".reply-r.json"
    for id, change in (
        ("r", lambda: store.messages("one").modify("r", {"metadata": {"k": 1}})),
        ("r", lambda: store.messages("one").delete("r")),
    ):
        write(left, b'{"id":"r","role":"assistant","content":"so far","created":1}')
        assert change().id == id
        assert not left.exists()
