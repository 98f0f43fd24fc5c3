"""How many slots there is room for, and how many threads compute."""

from __future__ import annotations

from jan_server.engines import machine
from jan_server.engines.base import ModelSpec

MOST_BY_DEFAULT = 4


def choose_slots(asked: int | None, *, weights: int, each: int, memory: int | None) -> int:
    """How many contexts of `each` bytes: as asked, else up to four, as many as `memory` holds."""
    if asked is not None:
        return max(1, asked)
    if memory is None:
        return 1
    return max(1, min(MOST_BY_DEFAULT, (memory - weights) // each))


def threads_of(spec: ModelSpec) -> int:
    """As the spec says, else one for each physical core; never more than there are CPUs.

    One more than those, and all wait at every step for the one that does not run: 2.8 s a token
    with three threads on two cores, where two threads take 5 ms.
    """
    return min(spec.threads or machine.physical_cores(), len(machine.usable_cpus()))
