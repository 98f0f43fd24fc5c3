"""SQLite's method: the Nth operation on the disk fails, for every N; then the folder is reopened.

Whatever an operation answers must be true of what the next process finds.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jan_server.errors import DiskFull, JanError, NotWritable, WriteFailed, WriteUncertain
from jan_server.store import Store
from jan_server.store.files import Files
from tests.store.failing import FailingSystem

Seen = tuple[str, Any, bool, list[Any]]
"""A thread's id, title, whether its update moved, and its messages' contents."""

THREAD = '{"id": "one", "title": "Old", "updated": 1, "metadata": {"lastMessage": "b"}}'
MESSAGES = '{"id":"a","role":"user","content":"a"}\n{"id":"b","role":"user","content":"b"}'
OTHER = '{"title": "Untouched"}'

OPERATIONS: dict[str, Callable[[Store], Any]] = {
    "create_thread": lambda store: store.create_thread(
        assistants=[{"assistant_id": "new"}], messages=[{"role": "user", "content": "hi"}]
    ),
    "change": lambda store: store.threads.change("one", {"title": "New"}),
    "append": lambda store: store.messages("one").append([{"role": "user", "content": "c"}]),
    "append to a new file": lambda store: store.messages("two").append(
        [{"role": "user", "content": "c"}, {"role": "user", "content": "d"}]
    ),
    "touch": lambda store: store.messages("one").touch(),
    "delete": lambda store: store.threads.delete("one"),
    "delete files": lambda store: store.threads.delete_files("one", lambda name: True),
}
FAILURES: dict[str, dict[str, Any]] = {
    "once": {},
    "for ever": {"for_ever": True},
    "cut": {"cut": True},
    "cut for ever": {"cut": True, "for_ever": True},
    "full for ever": {"for_ever": True, "code": errno.ENOSPC},
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_whatever_fails_what_was_answered_is_true(name: str, failure: str, tmp_path: Path) -> None:
    before, after = _seen(_fresh(tmp_path / "before")), _after(OPERATIONS[name], tmp_path / "after")
    number = 1
    while _fails(name, FAILURES[failure], number, tmp_path, before, after):
        number += 1
    assert number > 3, "the operation was never made to fail"


def _fails(
    name: str,
    failure: dict[str, Any],
    number: int,
    tmp_path: Path,
    before: list[Seen],
    after: list[Seen],
) -> bool:
    root = tmp_path / str(number)
    _fresh(root)
    system = FailingSystem(number, **failure)
    allowed = _outcome(lambda: OPERATIONS[name](Store(root, files=Files(system=system))))
    found = _seen(root)
    states = {"before": found == before, "after": found == after, "partly": True}
    assert any(states[state] for state in allowed), system.calls
    assert all(_is_part(thread, before + after) for thread in found)
    assert (root / "threads/other/thread.json").read_text() == OTHER
    _works_again(root)
    return system.has_failed


def _outcome(operation: Callable[[], Any]) -> list[str]:
    """Which states the answer allows."""
    try:
        operation()
    except WriteUncertain:
        return ["before", "after", "partly"]
    except (WriteFailed, DiskFull):
        return ["before"]
    return ["after"]


def _is_part(thread: Seen, of: list[Seen]) -> bool:
    """Whether a thread is one of these, or one of them whose last messages are missing."""
    return any(thread[:3] == whole[:3] and whole[3][: len(thread[3])] == thread[3] for whole in of)


def _fresh(root: Path) -> Path:
    for name in ("one", "two", "other"):
        (root / "threads" / name).mkdir(parents=True)
    (root / "threads/one/thread.json").write_text(THREAD)
    (root / "threads/one/messages.jsonl").write_text(MESSAGES)
    (root / "threads/two/thread.json").write_text("{}")
    (root / "threads/other/thread.json").write_text(OTHER)
    return root


def _after(operation: Callable[[Store], Any], root: Path) -> list[Seen]:
    operation(Store(_fresh(root), fsync=False))
    return _seen(root)


def _seen(root: Path) -> list[Seen]:
    """What a new process finds, but for ids and times that differ from run to run."""
    store = Store(root)
    return [
        (
            thread.id.split("_")[0],
            thread.value.get("title"),
            thread.value.get("updated", 0) > 1,
            [message.value["content"] for message in store.messages(thread.id).list()],
        )
        for thread in store.threads.list()
    ]


def _works_again(root: Path) -> None:
    """No file is unreadable, nothing temporary is listed, and all can go on."""
    store = Store(root, fsync=False)
    assert store.threads.list()
    assert {path.name for path in (root / "threads").iterdir()} - {"one", "two", "other"} <= {
        thread.id for thread in store.threads.list()
    }
    for thread in store.threads.list():
        messages = store.messages(thread.id)
        count = len(messages.list())
        messages.append([{"role": "user", "content": "again"}])
        store.threads.change(thread.id, {"title": "again"})
        assert len(store.messages(thread.id).list()) == count + 1


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [
        (errno.ENOSPC, DiskFull, 507),
        (errno.EDQUOT, DiskFull, 507),
        (errno.EACCES, NotWritable, 500),
        (errno.EROFS, NotWritable, 500),
        (errno.EIO, WriteFailed, 500),
    ],
)
def test_the_reason_of_a_failure_is_said(
    code: int, kind: type[JanError], status: int, tmp_path: Path
) -> None:
    store = Store(_fresh(tmp_path), files=Files(system=FailingSystem(1, code=code)))
    with pytest.raises(kind) as caught:
        store.threads.change("one", {"title": "New"})
    assert caught.value.status == status
    assert caught.value.message.startswith("threads/one/thread.json ")
    assert (tmp_path / "threads/one/thread.json").read_text() == THREAD


def test_a_deletion_across_disks_says_so(tmp_path: Path) -> None:
    system = FailingSystem(code=errno.EXDEV)
    store = Store(_fresh(tmp_path), files=Files(system=system))
    store.threads.delete("two")
    first = len(system.calls)
    store.threads.delete("other")
    system.nth = len(system.calls) + system.calls[first:].index("rename") + 1
    with pytest.raises(WriteFailed, match="another disk"):
        store.threads.delete("one")


def test_what_another_process_wrote_is_not_cut_off(tmp_path: Path) -> None:
    """A write of ours fails half-way, and before it is taken back another line is there."""

    class Neighbour(FailingSystem):
        def write(self, fd: int, data: bytes, /) -> int:
            written = super().write(fd, data)
            with (tmp_path / "threads/one/messages.jsonl").open("a") as file:
                file.write('\n{"id":"theirs","role":"user","content":"theirs"}\n')
            return written

    # The first three calls make sure of the file's name.
    store = Store(_fresh(tmp_path), files=Files(system=Neighbour(4, cut=True)))
    with pytest.raises(WriteUncertain, match="another process"):
        store.messages("one").append([{"role": "user", "content": "ours"}])
    ids = [message.id for message in Store(tmp_path).messages("one").list()]
    assert ids == ["a", "b", "theirs"]


def test_a_deletion_that_cannot_be_undone_says_where_the_rest_lies(tmp_path: Path) -> None:
    class Stuck(FailingSystem):
        def rename(self, src: Path, dst: Path) -> None:
            if "rename" in self.calls:
                raise OSError(errno.EIO, "stuck")
            super().rename(src, dst)

    store = Store(_fresh(tmp_path), files=Files(system=Stuck()))
    with pytest.raises(WriteUncertain, match=r"what was moved lies in .*\.jan_server/trash/"):
        store.threads.delete_files("one", lambda name: True)
