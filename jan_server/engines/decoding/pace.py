"""How many threads pay while other programs want the cores too.

The library's threads spin until the last of them has done its part. When another program takes one
core away, all wait for the thread that stands still, at every one of some hundred steps a token:
two threads on two cores, one of them busy, were seen to be twenty times slower than one thread.
Threads that spin use the processor all the time, so what an evaluation lacks of that was taken by
others. When it lacks much, half the threads are used for a while; then all are tried again, after
ever longer whiles as long as it is as bad at once. Where all are still the faster, as with a
library whose threads sleep while they wait, they stay.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

ENOUGH = 0.8
"""Of the cores that an evaluation was given: what it should have had, more or less."""

WINDOW, MOST = 0.05, 0.25
"""Seconds that are looked back on, and what one evaluation counts for at most: one that another
program cuts in on is forgiven, as when that is only ending what it did."""

SHORTEST_REST, LONGEST_REST = 0.25, 4.0
"""Seconds; the next one is twice as long, unless all threads did well for the shortest between."""

WORTH = 4.0
"""A rest is at least so many times as long as what was lost when all were tried."""

MEMORY = 30.0
"""Seconds for which it is known how fast half the threads were."""


class Pace:
    """Times are in seconds by one clock; not thread-safe."""

    def __init__(self) -> None:
        self._share = 1.0
        self._well = 0.0
        self._rest = SHORTEST_REST
        self._rests_until = float("-inf")
        self._halves: dict[Hashable, tuple[float, float]] = {}

    def __repr__(self) -> str:
        return f"<Pace, {self._share:.0%} of the cores, next rest {self._rest:g} s>"

    def limit(self, threads: int, *, now: float) -> int:
        """So many of these threads are worth it now."""
        return max(1, threads // 2) if now < self._rests_until else threads

    def took_half(self, seconds: float, *, tokens: int, now: float, kind: Hashable = None) -> None:
        """An evaluation of so many tokens is done, to be compared with others of its `kind`."""
        self._halves[_alike(tokens, kind)] = seconds / tokens, now

    def took_all(
        self, seconds: float, *, share: float, tokens: int, now: float, kind: Hashable = None
    ) -> None:
        """The same with several threads, which had this share of their cores, 0 to 1."""
        self._share += min(1 - math.exp(-seconds / WINDOW), MOST) * (share - self._share)
        if self._share >= ENOUGH:
            self._well += seconds
            if self._well >= SHORTEST_REST:
                self._rest = SHORTEST_REST
            return
        self._share, self._well = 1.0, 0.0
        half, measured = self._halves.get(_alike(tokens, kind), (0.0, now))
        if half > seconds / tokens and now < measured + MEMORY:
            return
        self._rests_until = now + max(self._rest, WORTH * seconds * (1 - share))
        self._rest = min(2 * self._rest, LONGEST_REST)


def _alike(tokens: int, kind: Hashable) -> Hashable:
    # The more at once, the less for each: they share what is read.
    return kind, tokens.bit_length()
