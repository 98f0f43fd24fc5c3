"""One model of the pool: its process, who has it and who waits for it.

All of it is the event loop's; only what a model's status is may be asked from another thread.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from math import isinf
from typing import Literal, NamedTuple

import msgspec

from jan_server.engines.lease import Lease, Process
from jan_server.engines.schedule import Room, Status, Wanted

State = Literal["starting", "running", "stopping", "stopped"]

STATES: dict[Status, State] = {
    "starting": "starting",
    "loaded": "running",
    "stopping": "stopping",
}


class Waiter:
    """A request, from coming to leaving. `outcome` is its lease, or why it gets none."""

    lease: Lease | None = None

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.came = time.monotonic()
        self.outcome: asyncio.Future[Lease | BaseException] = asyncio.Future()
        self.left = asyncio.Event()

    def settle(self, outcome: Lease | BaseException) -> None:
        if not self.outcome.done():  # Else it was cancelled, and has not left the queue yet.
            self.outcome.set_result(outcome)


class Kept(NamedTuple):
    """Why a load failed, for whoever comes again before `until`, on the monotonic clock."""

    wanted: Wanted
    error: BaseException
    until: float


class PooledModel:
    """One model's process, those who have it and those who wait for it."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.status: Status = "absent"
        self.process: Process | None = None
        self.holds: Wanted | None = None
        self.users: set[Waiter] = set()
        self.queue: deque[Waiter] = deque()
        self.loading: asyncio.Task[Process] | None = None
        self.ending: asyncio.Task[None] | None = None
        # As the latest request has it; and when the last one left.
        self.keep_alive = 0.0
        self.used = 0.0
        # Somebody was told to come again while it loads: the model, or its failure, is kept.
        self.is_promised = False
        self.kept_until = 0.0
        self.failure: Kept | None = None

    @property
    def seen_status(self) -> Status:
        """As it is set, but for a process that died."""
        process = self.process
        dead = self.status == "loaded" and not (process and process.alive)
        return "dead" if dead else self.status

    @property
    def memory(self) -> int:
        """As it says itself, when it is loaded and says so; else the estimate."""
        said = self.process.info.memory if self.process else 0
        return said or (self.holds.memory if self.holds else 0)

    @property
    def slots(self) -> int:
        if self.process is not None:
            return self.process.info.slots
        return (self.holds and self.holds.spec.slots) or 1

    def room(self) -> Room:
        return Room(
            id=self.id,
            status=self.seen_status,
            holds=self.holds,
            memory=self.memory,
            slots=self.slots,
            users=len(self.users),
            waiting=tuple(waiter.wanted for waiter in self.queue),
            came=self.queue[0].came if self.queue else 0.0,
            used=self.used,
            expires=max(self.used + self.keep_alive, self.kept_until),
        )

    def settle(self, outcome: BaseException, *, wanted: Wanted | None = None) -> bool:
        """Tell all waiters, or those who want just this; False when there is none."""
        told = [waiter for waiter in self.queue if wanted in (None, waiter.wanted)]
        for waiter in told:
            self.queue.remove(waiter)
            waiter.settle(outcome)
        return bool(told)

    def take_failure(self, wanted: Wanted) -> BaseException | None:
        """The failure that was kept for whoever comes again wanting this; it is told once."""
        kept, self.failure = self.failure, None
        is_asked_for = kept and kept.wanted == wanted and time.monotonic() < kept.until
        return kept.error if kept and is_asked_for else None


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A model in memory or on its way there or from there, as people are told of it.

    `busy` requests have one of its `slots`, `waiting` ones do not yet. `memory` is in bytes, an
    estimate until it is loaded. `expires_in` seconds it is unloaded if nobody uses it; None: not
    for the time being.
    """

    id: str
    state: State
    engine: str = ""
    device: str = ""
    slots: int = 1
    busy: int = 0
    waiting: int = 0
    memory: int = 0
    expires_in: float | None = None


def seen(room: Room, process: Process | None, now: float) -> Seen:
    """`room` is of a model in memory or on its way; `now` on its clock."""
    busy = min(room.users, room.slots)
    stays = not room.is_unused or isinf(room.expires)
    return Seen(
        id=room.id,
        state=STATES[room.status],
        engine=room.holds.spec.engine if room.holds else "",
        device=process.info.device if process else "",
        slots=room.slots,
        busy=busy,
        waiting=room.users + len(room.waiting) - busy,
        memory=room.memory,
        expires_in=None if stays else round(max(0.0, room.expires - now), 1),
    )
