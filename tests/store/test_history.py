"""What was read of a file is kept while its bytes are the same; how two readings differ."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jan_server.store.document import etag
from jan_server.store.files import Files
from jan_server.store.histories import MAX_ANSWERS, MAX_KEPT, Histories
from jan_server.store.history import Message, message_changes

LINE = b'{"id":"a","role":"user","content":"hi","created":1705312350123}\n'
OLD = 1_600_000_000


def message(id: str, raw: bytes) -> Message:
    return Message(id=id, value={}, seconds=0, raw=raw)


A, B, B_CHANGED, C = (message(raw[:1].decode(), raw) for raw in (b"a", b"b", b"b!", b"c"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([], [], []),
        ([A], [A], []),
        ([A], [A, B], [("created", B)]),
        ([A, B], [B, A], []),
        ([A, B], [A, B_CHANGED], [("updated", B_CHANGED)]),
        ([A, B], [B], [("deleted", A)]),
        ([A, B], [C, B_CHANGED], [("created", C), ("updated", B_CHANGED), ("deleted", A)]),
    ],
)
def test_two_readings_differ_by_what_was_made_changed_and_deleted(
    old: list[Message], new: list[Message], expected: list[tuple[str, Message]]
) -> None:
    assert message_changes(old, new) == expected


def test_a_messages_etag_is_that_of_its_bytes() -> None:
    assert A.etag == etag(b"a") != B.etag


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that was not written to just now."""
    found = tmp_path / "messages.jsonl"
    found.write_bytes(LINE)
    os.utime(found, (OLD, OLD + 0.5))
    return found


@pytest.fixture
def histories() -> Histories:
    return Histories(Files(fsync=False))


def test_the_same_bytes_are_the_same_history(path: Path, histories: Histories) -> None:
    assert (histories.current(path), histories.last_seen(path)) == (None, None)
    first = histories.read(path, shown="x")
    assert histories.current(path) is first
    path.write_bytes(LINE)  # A time that is not trusted yet: it is read again, and is the same.
    assert histories.current(path) is None
    assert histories.read(path, shown="x") is first
    path.write_bytes(LINE * 2)
    assert histories.read(path, shown="x") is not first
    path.unlink()
    assert histories.current(path) is None
    assert histories.read(path, shown="x").raw == b""


def test_a_file_that_is_gone_is_not_current(path: Path, histories: Histories) -> None:
    histories.read(path, shown="x")
    path.unlink()
    assert histories.current(path) is None


def test_few_answers_are_kept_and_the_oldest_goes(path: Path, histories: Histories) -> None:
    history = histories.read(path, shown="x")
    for number in range(MAX_ANSWERS + 1):
        histories.keep_answer(history, number, b"%d" % number)
    assert history.answers == {number: b"%d" % number for number in range(1, MAX_ANSWERS + 1)}
    assert history.weight == len(LINE) + MAX_ANSWERS
    assert repr(history) == f"<History of {len(LINE)} bytes>"


def test_answers_count_as_files_do(path: Path, tmp_path: Path, histories: Histories) -> None:
    other = tmp_path / "other.jsonl"
    other.write_bytes(LINE)
    histories.read(path, shown="x")
    history = histories.read(other, shown="y")
    histories.keep_answer(history, "all", bytes(MAX_KEPT))
    assert histories.last_seen(path) is None
    assert histories.last_seen(other) is history


@pytest.mark.parametrize("other", ["messages.jsonl", "other.jsonl"])
def test_answers_go_with_the_place_of_what_they_show(other: str, path: Path) -> None:
    """Whoever else holds what the file was (told.py) holds no answers."""
    histories = Histories(Files(fsync=False), capacity=1)
    history = histories.read(path, shown="x")
    histories.keep_answer(history, "all", b"[]")
    assert histories.read(path, shown="x").answers == {"all": b"[]"}
    path.with_name(other).write_bytes(LINE * 2)
    histories.read(path.with_name(other), shown="y")
    assert history.answers == {}


@pytest.mark.parametrize(
    ("raw", "has"), [(b"", True), (b"x\n", True), (LINE + b"{}", True), (b"{}\n" + LINE, False)]
)
def test_only_the_first_messages_time_can_be_its_threads(
    raw: bytes, has: bool, path: Path, histories: Histories
) -> None:
    path.write_bytes(raw)
    history = histories.read(path, shown="x")
    assert history.has_own_times is has
    assert [message.seconds for message in history.messages(lambda: 7)][:1] in (
        [],
        [7],
        [1705312350],
    )
    if has:
        assert list(history.by_id.values()) == list(history.messages(lambda: 7))
