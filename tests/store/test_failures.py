"""SQLite's method: the Nth operation on the disk fails, for every N; then the folder is reopened.

Whatever an operation answers must be true of what the next process finds.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from jan_server.errors import DiskFull, JanError, NotWritable, WriteFailed, WriteUncertain
from jan_server.store import Store
from jan_server.store.files import Files
from tests.store.failing import FailingSystem
from tests.store.operations import (
    OPERATIONS,
    THREAD,
    Operation,
    before_and_after,
    check_it_works_on,
    fresh,
    is_sound,
    prepared,
    seen,
)

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
    operation = OPERATIONS[name]
    before, after = before_and_after(operation, tmp_path / "whole")
    has_failed, number = True, 0
    while has_failed:
        number += 1
        root = prepared(operation, tmp_path / str(number))
        system = FailingSystem(number, **FAILURES[failure])
        allowed = _outcome(operation, Store(root, files=Files(system=system)))
        has_failed = system.has_failed
        found = seen(root)
        states = {"before": found == before, "after": found == after, "partly": True}
        assert any(states[state] for state in allowed), system.calls
        assert is_sound(found, operation, before=before, after=after), system.calls
        check_it_works_on(root)
    assert number > 3, "the operation was never made to fail"


def _outcome(operation: Operation, store: Store) -> list[str]:
    """Which states the answer allows."""
    try:
        operation.run(store)
    except WriteUncertain:
        return ["before", "after", "partly"]
    except (WriteFailed, DiskFull):
        return ["before"]
    return ["after"]


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
    store = Store(fresh(tmp_path), files=Files(system=FailingSystem(1, code=code)))
    with pytest.raises(kind) as caught:
        store.threads.change("one", {"title": "New"})
    assert caught.value.status == status
    assert caught.value.message.startswith("threads/one/thread.json ")
    assert (tmp_path / "threads/one/thread.json").read_text() == THREAD


def test_a_deletion_across_disks_says_so(tmp_path: Path) -> None:
    system = FailingSystem(code=errno.EXDEV)
    store = Store(fresh(tmp_path), files=Files(system=system))
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
    store = Store(fresh(tmp_path), files=Files(system=Neighbour(4, cut=True)))
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

    store = Store(fresh(tmp_path), files=Files(system=Stuck()))
    with pytest.raises(WriteUncertain, match=r"what was moved lies in .*\.jan_server/trash/"):
        store.threads.delete_files("one", lambda name: True)
