"""What to do next with the models: a pure function of what is loaded and who waits.

A request that finds its model as it wants it is admitted at once: the model's own process queues
answers and gives them slots. What waits here waits for a model to be loaded, in the order of
arrival:

- A request that wants the model otherwise than it is loaded waits until nobody uses it, and those
  who come after it wait behind it.
- Memory: all models together may take `budget` bytes. Where a load does not fit, idle models are
  unloaded, the one first that was not used for longest. Where that is not enough, it waits for
  those in use, and whoever came after it, for any model, waits too: else a model that is always in
  use would keep it out for ever. A model that is too large for the whole budget is loaded when it
  is alone: what it takes is only an estimate until then.
- An idle model is unloaded when its time is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Literal

import msgspec

from jan_server.engines.base import ModelSpec

Status = Literal["absent", "starting", "loaded", "dead", "stopping"]

# Beside the weights there are contexts and buffers.
MEMORY_PER_BYTE_OF_WEIGHTS = 1.2


class Wanted(msgspec.Struct, frozen=True):
    """What a request asks to be loaded. `weights` is the file's (mtime_ns, size), if any."""

    spec: ModelSpec
    weights: tuple[int, int] | None = None

    @property
    def memory(self) -> int:
        """An estimate of the bytes it takes."""
        return int(self.weights[1] * MEMORY_PER_BYTE_OF_WEIGHTS) if self.weights else 0


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """One model as `decide` sees it.

    `holds` is what is loaded, or being loaded, `memory` what that takes, and `slots` how many it
    works on at once, as far as that is known. `users` have it now; `waiting` do not yet, the oldest
    first, which came at `came`. `used` is when the last user left, `expires` when it may go after
    that; all on one clock.
    """

    id: str
    status: Status
    holds: Wanted | None = None
    memory: int = 0
    slots: int = 1
    users: int = 0
    waiting: tuple[Wanted, ...] = ()
    came: float = 0.0
    used: float = 0.0
    expires: float = inf

    @property
    def is_unused(self) -> bool:
        return self.status in ("loaded", "dead") and not self.users and not self.waiting


class Admit(msgspec.Struct, frozen=True):
    """Give the model to so many of those who wait, the oldest first."""

    id: str
    count: int


class Load(msgspec.Struct, frozen=True):
    """End the process that is there, if any, and load this; `memory` is what is left for it."""

    id: str
    wanted: Wanted
    memory: float


class Unload(msgspec.Struct, frozen=True):
    """Free the memory of a model that nobody uses."""

    id: str


Action = Admit | Load | Unload


def decide(rooms: Sequence[Room], *, budget: float = inf, now: float = 0.0) -> list[Action]:
    """What can be done now, at most one thing per model."""
    plan = _Plan(rooms, budget)
    for room in rooms:
        if room.is_unused and room.expires <= now:
            plan.unload(room)
    for room in sorted((room for room in rooms if room.waiting), key=lambda room: room.came):
        if not plan.serve(room):
            break
    return plan.actions


def next_expiry(rooms: Sequence[Room]) -> float:
    """When there will be something to do though nobody asks for anything."""
    return min((room.expires for room in rooms if room.is_unused), default=inf)


def without_slot(room: Room) -> int:
    """How many requests wait, here for the model or in its process for a slot.

    Less than 0: so many more would not have to wait.
    """
    return len(room.waiting) + room.users - room.slots


class _Plan:
    """What is done so far, and what that does to the memory."""

    def __init__(self, rooms: Sequence[Room], budget: float) -> None:
        self.actions: list[Action] = []
        self._rooms = rooms
        self._budget = budget
        self._leaving = {room.id for room in rooms if room.status == "stopping"}
        self._memory = {
            room.id: room.memory
            for room in rooms
            if room.status in ("starting", "loaded", "stopping")
        }

    def serve(self, room: Room) -> bool:
        """False when this one waits for memory: then nobody who came later is served."""
        if room.status in ("starting", "stopping"):
            return True
        head = room.waiting[0]
        if room.status == "loaded" and room.holds == head:
            alike = next((i for i, w in enumerate(room.waiting) if w != head), len(room.waiting))
            self.actions.append(Admit(room.id, alike))
            return True
        return bool(room.users) or self._load(room, head)

    def unload(self, room: Room) -> None:
        self._leaving.add(room.id)
        self.actions.append(Unload(room.id))

    def _load(self, room: Room, wanted: Wanted) -> bool:
        others = {id: memory for id, memory in self._memory.items() if id != room.id}
        left = self._budget - sum(others.values())
        if wanted.memory > left and any(others.values()):
            self._make_room(wanted.memory - left, besides=room.id)
            return False
        self._memory[room.id] = wanted.memory
        self.actions.append(Load(room.id, wanted, left))
        return True

    def _make_room(self, missing: float, *, besides: str) -> None:
        missing -= sum(self._memory.get(id, 0) for id in self._leaving)
        for room in sorted(self._rooms, key=lambda room: room.used):
            if missing > 0 and self._is_idle(room) and room.id != besides:
                missing -= room.memory
                self.unload(room)

    def _is_idle(self, room: Room) -> bool:
        """Nobody uses it, and it would free some; who waits for it came later, and waits on."""
        is_served = any(action.id == room.id for action in self.actions)
        is_free = room.status == "loaded" and not room.users
        return is_free and room.memory > 0 and not is_served
