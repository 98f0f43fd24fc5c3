"""Appends of many requests, written together.

While a round of appends is being written, the requests that come meanwhile queue; the next round
takes them all. Those for one thread share one write and one flush. Those for different threads
share the way to a worker thread and back, and their flushes are done at the same time: each system
call in a worker lets go of the interpreter and must win it back from the event loop, so one worker
does all but the flushes, which wait for the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from jan_server.errors import JanError
from jan_server.store import Message, Store
from jan_server.store.appends import Begun
from jan_server.store.together import append_all

PATIENCE = 0.02
"""Seconds that a round may take before the next begins beside it: a thread whose lock another
process holds must not hold up all others."""

MOST_THREADS = 64
"""In a round: each has two files open."""

_FLUSHERS = 8
_WRITERS = 16

Batch = Sequence[Mapping[str, Any]]


class _Waiting(NamedTuple):
    new: Batch
    done: asyncio.Future[list[Message]]


Round = dict[str, list[_Waiting]]
"""What waits, by the thread's id."""


class Appending:
    """Belongs to one event loop. `close` waits for what is queued."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="append")
        self._flushers = ThreadPoolExecutor(_FLUSHERS, thread_name_prefix="flush")
        self._waiting: Round = {}
        self._busy: set[str] = set()
        self._newest: asyncio.Future[Any] | None = None
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
        self._writers.shutdown()
        self._flushers.shutdown()

    def _begin(self) -> None:
        """Begin a round with all that waits, unless one is being written."""
        if self._newest is not None:
            return
        ready = [id for id in self._waiting if id not in self._busy]
        round = {id: self._waiting.pop(id) for id in islice(ready, MOST_THREADS)}
        if not round:
            return
        loop = asyncio.get_running_loop()
        self._busy.update(round)
        self._newest = writing = loop.run_in_executor(self._writers, self._write, round)
        self._writing.add(writing)
        writing.add_done_callback(partial(self._end, round))
        loop.call_later(PATIENCE, self._go_on, writing)

    def _go_on(self, writing: asyncio.Future[Any]) -> None:
        """The next round may begin, done or not."""
        if self._newest is writing:
            self._newest = None
            self._begin()

    def _write(self, round: Round) -> list[list[list[Message] | JanError] | JanError]:
        """In a worker: what came of each thread's requests."""
        appends = [
            (self._store.messages(id).appends(), [each.new for each in waiting])
            for id, waiting in round.items()
        ]
        return append_all(appends, run=self._at_once)

    def _at_once(
        self, flush: Callable[[Begun], JanError | None], begun: Sequence[Begun]
    ) -> list[JanError | None]:
        """As `map`; several flushes share one way to another thread."""
        if len(begun) == 1:
            return [flush(begun[0])]
        shares = [begun[first::_FLUSHERS] for first in range(min(_FLUSHERS, len(begun)))]
        found: list[JanError | None] = [None] * len(begun)
        flushed = self._flushers.map(lambda share: list(map(flush, share)), shares)
        for first, errors in enumerate(flushed):
            found[first::_FLUSHERS] = errors
        return found

    def _end(self, round: Round, writing: asyncio.Future[Any]) -> None:
        self._busy.difference_update(round)
        self._writing.discard(writing)
        failed = writing.exception()
        outcomes = [failed] * len(round) if failed else writing.result()
        for waiting, outcome in zip(round.values(), outcomes, strict=True):
            _tell(waiting, outcome)
        self._go_on(writing)
        self._begin()


def _tell(
    waiting: Sequence[_Waiting], outcome: list[list[Message] | JanError] | BaseException
) -> None:
    each = [outcome] * len(waiting) if isinstance(outcome, BaseException) else outcome
    for (_, done), answer in zip(waiting, each, strict=True):
        if done.done():
            continue  # Whoever waited has left.
        if isinstance(answer, BaseException):
            done.set_exception(answer)
        else:
            done.set_result(answer)
