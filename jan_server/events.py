"""What happened to the resources of the data folder, whoever did it; and the hub that tells it.

The hub keeps the last events once for all who listen: a listener has a place among them and no
queue of its own, so that one who is slow, or who comes back, costs nothing. Whoever asks for what
is not kept any more is told to read again what is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any, Literal

import msgspec

ResourceKind = Literal["thread", "message", "assistant", "model"]
Kind = Literal[ResourceKind, "download"]
Change = Literal["created", "updated", "deleted", "broken"]
Cause = Literal["api", "file"]

CAPACITY = 10_000
"""Events that are kept: as many as a long thread has messages, when a program writes it anew."""

MAX_WEIGHT = 16 * 2**20
"""Bytes of files that the kept events may hold in memory. The last event is always kept."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one resource.

    `id` is the address that reaches it, a message's within `thread_id`. `etag` is the one that it
    has now, None when it is gone or broken; `problem` is the place and the reason when it is
    broken. `resource` is what the store has, for those who show it.
    """

    kind: Kind
    id: str
    change: Change
    cause: Cause
    etag: str | None = None
    thread_id: str | None = None
    problem: str | None = None
    resource: Any = None


Publish = Callable[[Event], None]


def unheard(_event: Event) -> None:
    """Where nobody listens."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An event as a listener gets it; in this run of the server one can go on after its `id`."""

    id: str
    event: Event


class Resync(msgspec.Struct, frozen=True, kw_only=True):
    """Events may have been lost for this listener, who goes on after `id`."""

    id: str
    reason: str


class Hub:
    """Events come in by `publish`, from any thread, and go to those who `listen`, on any loop."""

    def __init__(self, *, capacity: int = CAPACITY, max_weight: int = MAX_WEIGHT) -> None:
        self._capacity = capacity
        self._max_weight = max_weight
        self._run = secrets.token_hex(4)
        self._guard = threading.Lock()
        self._kept: dict[int, Event] = {}  # by number: the last ones, without a gap
        self._weight = 0
        self._last = 0
        self._waiting: dict[asyncio.AbstractEventLoop, set[asyncio.Future[None]]] = {}
        self._is_closed = False

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else f"{len(self._kept)} kept of {self._last}"
        return f"<Hub {self._run} {state}>"

    def publish(self, event: Event) -> None:
        """Costs a few microseconds, and never waits for a listener. Nothing when closed."""
        with self._guard:
            if self._is_closed:
                return
            self._last += 1
            self._kept[self._last] = event
            self._weight += _weight(event)
            while self._is_too_much():
                self._weight -= _weight(self._kept.pop(self._oldest))
            waiting, self._waiting = self._waiting, {}
        _wake(waiting)

    def listen(self, *, after: str | None = None) -> AsyncGenerator[Told | Resync]:
        """What is published from now on, or after that id, until the hub is closed.

        When events after that id are not known (any more), and later when the listener takes them
        so slowly that some are not kept any more, a Resync comes in their place.
        """
        with self._guard:
            if not after:
                return self._follow(self._last, "")
            return self._follow(*self._place(after))

    def close(self) -> None:
        """Ends all that listen."""
        with self._guard:
            self._is_closed = True
            self._kept.clear()
            waiting, self._waiting = self._waiting, {}
        _wake(waiting)

    @property
    def _oldest(self) -> int:
        return self._last - len(self._kept) + 1

    def _is_too_much(self) -> bool:
        count = len(self._kept)
        return count > self._capacity or (count > 1 and self._weight > self._max_weight)

    def _place(self, id: str) -> tuple[int, str]:
        """The number to go on after, and why it is not the one that was asked for."""
        run, _, number = id.rpartition("-")
        if run != self._run:
            return self._last, "the id is of another run of the server"
        # Fifteen digits: Python refuses to read thousands of them.
        is_number = number.isascii() and number.isdecimal() and len(number) < 16
        if not is_number or int(number) > self._last:
            return self._last, "no event had this id"
        if int(number) < self._oldest - 1:
            return self._last, "the events after this id are not kept any more"
        return int(number), ""

    async def _follow(self, place: int, reason: str) -> AsyncGenerator[Told | Resync]:
        if reason:
            yield Resync(id=self._id(place), reason=reason)
        while not self._is_closed:
            with self._guard:
                event, last = self._kept.get(place + 1), self._last
            if event is not None:
                place += 1
                yield Told(id=self._id(place), event=event)
            elif place < last:
                place = last
                yield Resync(id=self._id(place), reason="the listener was too slow")
            else:
                await self._news(place)

    async def _news(self, place: int) -> None:
        """Until something is published after `place`, or the hub is closed."""
        loop = asyncio.get_running_loop()
        news = loop.create_future()
        with self._guard:
            if self._last > place or self._is_closed:
                return
            waiting = self._waiting.setdefault(loop, set())
            waiting.add(news)
        try:
            await news
        finally:
            with self._guard:
                waiting.discard(news)

    def _id(self, number: int) -> str:
        return f"{self._run}-{number}"


def _weight(event: Event) -> int:
    """What the resource holds of its file; whatever the store has, its bytes are `raw`."""
    return len(getattr(event.resource, "raw", b""))


def _wake(waiting: dict[asyncio.AbstractEventLoop, set[asyncio.Future[None]]]) -> None:
    for loop, futures in waiting.items():
        with contextlib.suppress(RuntimeError):  # The loop was closed: nobody is there any more.
            loop.call_soon_threadsafe(_end, futures)


def _end(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
