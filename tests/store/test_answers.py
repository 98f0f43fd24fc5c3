"""Answers that show the end of a file: kept while the file is as it was, and no longer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jan_server.store import Store, answers
from jan_server.store.answers import Answers
from tests.store.conftest import write

LINE = b'{"id":"%d","role":"user","content":"hi","created":1700000000000}\n'


@pytest.fixture
def path(root: Path) -> Path:
    """A file that nobody changed for a while."""
    path = root / "threads/one/messages.jsonl"
    write(path, b"".join(LINE % number for number in range(50)))
    return aged(path)


def aged(path: Path) -> Path:
    os.utime(path, ns=(0, path.stat().st_mtime_ns - 10_123_456_789))
    return path


def last(store: Store) -> bytes:
    def make(found, has_more):
        return f"{[message.id for message in found]} {has_more}".encode()

    return store.messages("one").answer_last("key", 2, make)


def test_the_end_of_a_file_is_answered_again_while_it_is_as_it_was(root, path):
    store = Store(root, fsync=False)
    assert store.messages("one").kept_answer("key") is None
    assert last(store) == b"['48', '49'] True"
    assert store.messages("one").kept_answer("key") == b"['48', '49'] True"
    assert store.messages("one").kept_answer("another key") is None


def test_what_was_changed_since_is_not_answered(root, path):
    store = Store(root, fsync=False)
    last(store)
    with path.open("ab") as file:
        file.write(LINE % 50)
    assert store.messages("one").kept_answer("key") is None
    assert last(store) == b"['49', '50'] True"


def test_a_file_that_was_just_written_is_not_trusted(root, path):
    store = Store(root, fsync=False)
    path.write_bytes(LINE % 7)
    assert last(store) == b"['7'] False"
    assert store.messages("one").kept_answer("key") is None


def test_what_is_not_of_the_file_alone_is_not_kept(root, path):
    store = Store(root, fsync=False)
    path.write_bytes(b'{"id":"a","role":"user","content":"no time"}\n')
    aged(path)
    assert last(store) == b"['a'] False"
    assert store.messages("one").kept_answer("key") is None


def test_a_growing_reply_is_shown_after_what_was_kept(root, path):
    store = Store(root, fsync=False)
    last(store)
    thread = store.messages("one")
    with store._shared.replies.begin(thread, {"id": "r", "role": "assistant"}):
        assert thread.kept_answer("key") is None
        assert last(store) == b"['49', 'r'] True"
    assert repr(store._shared.answers).startswith("<Answers 1 of")


def test_few_answers_are_kept_and_none_that_is_large(path, monkeypatch):
    monkeypatch.setattr(answers, "CAPACITY", 2)
    monkeypatch.setattr(answers, "MAX_BODY", 3)
    kept = Answers()
    for key, body in (("a", b"1"), ("b", b"2"), ("c", b"3"), ("large", b"1234")):
        assert kept.made(path, key, lambda body=body: (body, True)) == body
    assert [kept.current(path, key) for key in ("a", "b", "c", "large")] == [None, b"2", b"3", None]
