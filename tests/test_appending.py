"""What waits is written together; nobody waits for another thread's lock, and no answer is lost."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jan_server.appending import Appending
from jan_server.errors import (
    DiskFull,
    InvalidRequest,
    JanError,
    NotFound,
    WriteFailed,
    WriteUncertain,
)
from jan_server.store import Message, Store
from jan_server.store.files import Files
from tests.store.failing import FailingSystem

HI = {"role": "user", "content": "hi"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(20):
        folder = tmp_path / "threads" / f"t{number}"
        folder.mkdir(parents=True)
        (folder / "thread.json").write_text('{"created": 1705312345000}')
    return tmp_path


@contextmanager
def held(store: Store, thread_id: str) -> Iterator[threading.Event]:
    """Another thread holds its lock, until the event is set."""
    is_held, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with store.threads.hold(thread_id):
            is_held.set()
            may_go.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    is_held.wait()
    try:
        yield may_go
    finally:
        may_go.set()
        holder.join()


def run(store: Store, work: Callable[[Appending], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        appending = Appending(store)
        try:
            return await work(appending)
        finally:
            await appending.close()

    return asyncio.run(main())


def contents(store: Store, thread_id: str) -> list[str]:
    return [message.id for message in store.messages(thread_id).list()]


def test_every_request_gets_its_own_messages_in_the_order_of_the_requests(root: Path) -> None:
    store = Store(root, fsync=False)

    async def work(appending: Appending) -> list[list[Message]]:
        asked = [
            appending.append(f"t{number % 5}", [{**HI, "id": f"m{number}"}, HI])
            for number in range(50)
        ]
        return list(await asyncio.gather(*asked))

    found = run(store, work)
    assert [made[0].id for made in found] == [f"m{number}" for number in range(50)]
    for thread in range(5):
        mine = [message.id for number in range(thread, 50, 5) for message in found[number]]
        assert contents(store, f"t{thread}") == mine


def test_what_waits_for_one_thread_shares_a_flush(root: Path) -> None:
    system = FailingSystem()
    store = Store(root, files=Files(system=system))
    store.messages("t0").append([HI])
    system.calls.clear()

    async def work(appending: Appending) -> None:
        await asyncio.gather(*(appending.append("t0", [HI]) for _ in range(50)))

    run(store, work)
    # The first goes at once, and the others together.
    assert system.calls == ["open", "write", "fsync"] * 2
    assert len(contents(store, "t0")) == 51


def test_many_threads_are_written_by_turns_and_flushed_at_once(root: Path) -> None:
    system = FailingSystem()
    store = Store(root, files=Files(system=system))
    for number in range(20):
        store.messages(f"t{number}").append([HI])
    system.calls.clear()

    async def work(appending: Appending) -> None:
        await asyncio.gather(*(appending.append(f"t{number}", [HI]) for number in range(20)))

    run(store, work)
    alone, others = ["open", "write", "fsync"], 19
    assert system.calls == [*alone, *["open", "write"] * others, *["fsync"] * others]


def test_a_refusal_and_a_missing_thread_are_raised_where_they_belong(root: Path) -> None:
    store = Store(root, fsync=False)

    async def work(appending: Appending) -> list[Any]:
        asked = [
            appending.append("t0", [{**HI, "id": "x"}]),
            appending.append("t0", [{**HI, "id": "x"}]),
            appending.append("nowhere", [HI]),
            appending.append("nowhere", [HI]),
            appending.append("t1", [HI]),
        ]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    kinds = [type(outcome) for outcome in run(store, work)]
    assert kinds == [list, InvalidRequest, NotFound, NotFound, list]


def test_a_disk_that_fails_is_told_to_all_who_waited_for_that_thread(root: Path) -> None:
    system = FailingSystem()
    store = Store(root, files=Files(system=system))
    for name in ("t0", "t1"):
        store.messages(name).append([HI])
    # The first goes alone: open, write, fsync. Then two opens and writes, and t1's flush fails.
    system.nth = len(system.calls) + 3 + 4 + 2

    async def work(appending: Appending) -> list[Any]:
        wanted = ("t0", "t0", "t1", "t1")
        asked = (appending.append(name, [HI]) for name in wanted)
        return list(await asyncio.gather(*asked, return_exceptions=True))

    outcomes = run(store, work)
    failed = [isinstance(outcome, WriteFailed) for outcome in outcomes]
    assert failed in ([False, False, True, True], [False, True, False, False])
    assert len(contents(store, "t0")) + len(contents(store, "t1")) == 2 + failed.count(False)


def test_a_thread_that_another_holds_does_not_hold_up_the_others(root: Path) -> None:
    store = Store(root, fsync=False)

    async def work(appending: Appending) -> None:
        with held(store, "t0") as may_go:
            waits = [asyncio.ensure_future(appending.append("t0", [HI])) for _ in range(2)]
            await asyncio.sleep(0)
            await appending.append("t1", [HI])
            await appending.append("t1", [HI])
            assert not any(each.done() for each in waits)
            assert repr(appending) == "<Appending, 1 threads wait, 1 are written>"
            may_go.set()
            await asyncio.gather(*waits)

    run(store, work)
    assert len(contents(store, "t0")) == len(contents(store, "t1")) == 2


FAILURES: dict[str, dict[str, Any]] = {
    "once": {},
    "for ever": {"for_ever": True},
    "cut": {"cut": True},
    "full for ever": {"for_ever": True, "code": errno.ENOSPC},
}


@pytest.mark.parametrize("failure", FAILURES)
def test_whichever_operation_fails_every_answer_is_true(failure: str, root: Path) -> None:
    threads, number, has_failed = ("t0", "t0", "t1", "t2"), 0, True
    while has_failed:
        number += 1
        (root / "threads/t1/messages.jsonl").unlink(missing_ok=True)
        before = [contents(Store(root, fsync=False), id) for id in threads]
        system = FailingSystem(number, **FAILURES[failure])
        ids = [f"{number}-{place}" for place in range(len(threads))]

        async def work(appending: Appending, ids: list[str] = ids) -> Any:
            asked = [
                appending.append(thread, [{**HI, "id": id}])
                for thread, id in zip(threads, ids, strict=True)
            ]
            return await asyncio.gather(*asked, return_exceptions=True)

        answers = run(Store(root, files=Files(system=system)), work)
        has_failed = system.has_failed
        for thread, id, answer, old in zip(threads, ids, answers, before, strict=True):
            found = contents(Store(root, fsync=False), thread)
            assert found[: len(old)] == old
            assert Store(root, fsync=False).messages(thread).problems() == []
            if not isinstance(answer, WriteUncertain):
                assert isinstance(answer, (list, WriteFailed, DiskFull))
                assert (id in found) is isinstance(answer, list), (number, system.calls)
    assert number > 8


def test_who_leaves_while_it_is_written_spoils_nothing(root: Path) -> None:
    store = Store(root, fsync=False)

    async def work(appending: Appending) -> None:
        with held(store, "t0") as may_go:
            leaving = asyncio.ensure_future(appending.append("t0", [{**HI, "id": "left"}]))
            staying = asyncio.ensure_future(appending.append("t0", [{**HI, "id": "stayed"}]))
            await asyncio.sleep(0)
            leaving.cancel()
            may_go.set()
            [message] = await staying
            assert message.id == "stayed"

    run(store, work)
    assert contents(store, "t0") == ["left", "stayed"]


def test_a_fault_of_ours_is_raised_and_the_next_round_goes_on(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(root, fsync=False)
    real = store.messages

    def broken(thread_id: str) -> Any:
        if thread_id == "t0":
            raise ZeroDivisionError
        return real(thread_id)

    monkeypatch.setattr(store, "messages", broken)

    async def work(appending: Appending) -> list[Any]:
        asked = (appending.append(name, [HI]) for name in ("t0", "t1"))
        return list(await asyncio.gather(*asked, return_exceptions=True))

    failed, done = run(store, work)
    assert isinstance(failed, ZeroDivisionError)
    assert not isinstance(failed, JanError)
    assert isinstance(done, list)


def test_closing_waits_for_what_is_queued(root: Path) -> None:
    store = Store(root, fsync=False)

    async def main() -> None:
        appending = Appending(store)
        asked = [asyncio.ensure_future(appending.append("t0", [HI])) for _ in range(9)]
        await asyncio.sleep(0)
        await appending.close()
        assert all(each.done() for each in asked)

    asyncio.run(main())
    assert len(contents(store, "t0")) == 9
