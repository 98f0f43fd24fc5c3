"""The answers of one model that are still to end: who waits, who has which slot.

`order.py` says whose turn it is, `slots.py` which slot; this holds their state, and tells those who
wait their place. Its methods are called by several threads.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Sequence
from queue import SimpleQueue

import msgspec

from jan_server.engines import slots, wire
from jan_server.engines.base import EmbeddingRequest, Queued, Request
from jan_server.engines.order import Waiting, in_order
from jan_server.engines.slots import Slot


class Job(msgspec.Struct, frozen=True):
    """An accepted answer. The request's own prompt is left out: the ids take the least room."""

    id: int
    client: str
    request: Request
    prompt: array[int]


class Dispatch:
    """`held` tells what an idle slot holds. What is sent about one answer is sent in its order."""

    def __init__(
        self,
        count: int,
        *,
        held: Callable[[int], Sequence[int]],
        send: Callable[[wire.Reply], None],
    ) -> None:
        self._held = held
        self._send = send
        self._lock = threading.Lock()
        self._clock = 0
        self._closing = False
        self._live: set[int] = set()
        self._cancelled: set[int] = set()
        self._waiting: dict[int, Job] = {}
        self._arrived: dict[int, int] = {}
        self._places: dict[int, int] = {}
        self._served: dict[str, int] = {}
        self._slots = [Slot(number=number) for number in range(count)]
        self._at_work: dict[int, Job] = {}
        self._given: list[SimpleQueue[Job | None]] = [SimpleQueue() for _ in range(count)]
        self._wanted = [threading.Event() for _ in range(count)]

    def __repr__(self) -> str:
        return f"<Dispatch {len(self._at_work)} at work, {len(self._waiting)} waiting>"

    def expect(self, id: int) -> None:
        """An answer of that id came: from now on it can be cancelled."""
        with self._lock:
            self._live.add(id)

    def is_cancelled(self, id: int) -> bool:
        return self._closing or id in self._cancelled

    def cancel(self, id: int) -> None:
        """One that waits is ended here; one elsewhere ends itself when it looks."""
        with self._lock:
            if id in self._live:
                self._cancelled.add(id)
            if id in self._waiting:
                self._give_up(id)
                self._tell_places()

    def add(self, job: Job) -> None:
        """Give it a slot, or let it wait for one."""
        with self._lock:
            self._waiting[job.id] = job
            self._arrived[job.id] = self._tick()
            if self.is_cancelled(job.id):
                self._give_up(job.id)
            self._assign()

    def next(self, slot: int) -> Job | None:
        """Waits until there is something to do for this slot; None when there never will be."""
        job = self._given[slot].get()
        self._wanted[slot].clear()
        return job

    def end(self, id: int) -> None:
        """The answer came to its end without a slot."""
        with self._lock:
            self._forget(id)

    def release(self, slot: int) -> None:
        """The answer in this slot came to its end, and the slot is for the next."""
        with self._lock:
            job = self._at_work.pop(slot)
            self._served[job.client] = self._tick()
            self._forget(job.id)
            self._assign()

    def is_wanted(self, slot: int, *, within: float) -> bool:
        """Whether in so many seconds there is something to do for this slot, or nothing ever again.

        Waits for it; for the thread that asks for the next.
        """
        return self._closing or self._wanted[slot].wait(within)

    def close(self) -> None:
        """Cancel all there is. `next` gives None after what was given before."""
        with self._lock:
            self._closing = True
            for id in list(self._waiting):
                self._give_up(id)
            for slot in range(len(self._slots)):
                self._give(slot, None)

    # With the lock held:

    def _tick(self) -> int:
        self._clock += 1
        return self._clock

    def _assign(self) -> None:
        while self._waiting and (idle := self._idle()):
            job = self._leave(self._order()[0])
            chosen = slots.choose(idle, job.prompt)
            self._take(job, chosen)
        clients = {job.client for job in self._waiting.values()}
        self._served = {client: at for client, at in self._served.items() if client in clients}
        self._tell_places()

    def _idle(self) -> list[Slot]:
        return [
            msgspec.structs.replace(slot, held=self._held(slot.number))
            for slot in self._slots
            if slot.number not in self._at_work
        ]

    def _order(self) -> list[int]:
        waiting = [Waiting(id, job.client, self._arrived[id]) for id, job in self._waiting.items()]
        at_work = [job.client for job in self._at_work.values()]
        return in_order(waiting, at_work=at_work, served=self._served)

    def _take(self, job: Job, chosen: slots.Chosen) -> None:
        self._slots[chosen.number] = (
            # A chat does not come back for it, so the next one may have the slot.
            Slot(number=chosen.number)
            if isinstance(job.request, EmbeddingRequest)
            else Slot(number=chosen.number, first_prompt=chosen.first_prompt, used=self._tick())
        )
        self._at_work[chosen.number] = job
        self._give(chosen.number, job)

    def _give(self, slot: int, job: Job | None) -> None:
        self._given[slot].put(job)
        self._wanted[slot].set()

    def _tell_places(self) -> None:
        for place, id in enumerate(self._order()):
            if self._places.get(id) != place:
                self._places[id] = place
                self._send(wire.Emitted(id, Queued(place)))

    def _leave(self, id: int) -> Job:
        del self._arrived[id]
        self._places.pop(id, None)
        return self._waiting.pop(id)

    def _give_up(self, id: int) -> None:
        self._leave(id)
        self._forget(id)
        self._send(wire.Cancelled(id))

    def _forget(self, id: int) -> None:
        self._live.discard(id)
        self._cancelled.discard(id)
