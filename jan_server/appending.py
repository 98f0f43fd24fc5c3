"""Appends of many requests, written together.

While a round of appends is being written, the requests that come meanwhile queue; the next round
takes them all. Those for one thread share one write and one flush. Those for different threads
share a few ways to worker threads and back: each system call in a worker lets go of the
interpreter and must win it back from the event loop, so many workers cost more than they bring;
some are needed, since flushes of different files that meet are done together by the file system.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from jan_server.store import Message, Store

SHARES = 4
"""How many workers a round is divided among."""

PATIENCE = 0.02
"""Seconds that a round may take before the next begins beside it: a thread whose lock another
process holds must not hold up all others."""

_MOST_WORKERS = 32

Batch = Sequence[Mapping[str, Any]]
Outcome = list[Message] | Exception


class _Waiting(NamedTuple):
    new: Batch
    done: asyncio.Future[list[Message]]


Share = dict[str, list[_Waiting]]
"""By the thread's id."""


class Appending:
    """Belongs to one event loop. `close` waits for what is queued."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._workers = ThreadPoolExecutor(_MOST_WORKERS, thread_name_prefix="append")
        self._waiting: Share = {}
        self._busy: set[str] = set()
        self._round: set[asyncio.Future[Any]] = set()
        self._writing: set[asyncio.Future[Any]] = set()

    def __repr__(self) -> str:
        return f"<Appending, {len(self._waiting)} threads wait, {len(self._busy)} are written>"

    async def append(self, thread_id: str, new: Batch) -> list[Message]:
        """As Messages.append. Who leaves while it is being written does not undo it."""
        done: asyncio.Future[list[Message]] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(thread_id, []).append(_Waiting(new, done))
        self._begin()
        return await done

    async def close(self) -> None:
        while self._writing:
            await asyncio.wait(self._writing)
        self._workers.shutdown()

    def _begin(self) -> None:
        """Begin a round with all that waits, unless one is being written."""
        ready = [id for id in self._waiting if id not in self._busy]
        if self._round or not ready:
            return
        loop = asyncio.get_running_loop()
        self._round = set()
        for first in range(min(SHARES, len(ready))):
            share = {id: self._waiting.pop(id) for id in ready[first::SHARES]}
            self._busy.update(share)
            writing = loop.run_in_executor(self._workers, self._written, share)
            writing.add_done_callback(partial(self._deliver, share))
            self._round.add(writing)
        self._writing |= self._round
        loop.call_later(PATIENCE, self._go_on, self._round)

    def _go_on(self, round: set[asyncio.Future[Any]]) -> None:
        """The next round may begin, though that one may still be written."""
        if self._round is round:
            self._round = set()
            self._begin()

    def _written(self, share: Share) -> list[list[Outcome]]:
        """In a worker: what came of each request of each thread."""
        return [self._append(id, [each.new for each in waiting]) for id, waiting in share.items()]

    def _append(self, id: str, batches: Sequence[Batch]) -> list[Outcome]:
        try:
            return list(self._store.messages(id).append_many(batches))
        except Exception as error:  # noqa: BLE001  # It is raised where each of them is awaited.
            return [error] * len(batches)

    def _deliver(self, share: Share, writing: asyncio.Future[list[list[Outcome]]]) -> None:
        self._busy.difference_update(share)
        self._writing.discard(writing)
        self._round.discard(writing)
        for waiting, outcomes in zip(share.values(), writing.result(), strict=True):
            for each, outcome in zip(waiting, outcomes, strict=True):
                _finish(each.done, outcome)
        self._begin()


def _finish(done: asyncio.Future[list[Message]], outcome: Outcome) -> None:
    if done.done():
        return  # Whoever waited has left.
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)
