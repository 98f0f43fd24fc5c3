"""What to do next for each model: a pure function of what is loaded and who waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from jan_server.engines.base import ModelSpec

Status = Literal["absent", "starting", "idle", "busy", "dead", "stopping"]


class Wanted(msgspec.Struct, frozen=True):
    """What a request asks to be loaded. `weights` is the file's (mtime_ns, size), if any."""

    spec: ModelSpec
    weights: tuple[int, int] | None = None


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """One model as `decide` sees it: what is loaded, and who waits, the oldest first."""

    id: str
    status: Status
    holds: Wanted | None = None
    waiting: tuple[Wanted, ...] = ()


class Admit(msgspec.Struct, frozen=True):
    """Give the turn to the oldest waiter."""

    id: str


class Load(msgspec.Struct, frozen=True):
    """End the process that is there, if any, and load this."""

    id: str
    wanted: Wanted


def decide(rooms: Sequence[Room]) -> list[Admit | Load]:
    """What can be done now, at most one thing per model."""
    return [action for room in rooms if (action := _next_for(room))]


def _next_for(room: Room) -> Admit | Load | None:
    if not room.waiting or room.status in ("starting", "busy", "stopping"):
        return None
    if room.status == "idle" and room.holds == room.waiting[0]:
        return Admit(room.id)
    return Load(room.id, room.waiting[0])
