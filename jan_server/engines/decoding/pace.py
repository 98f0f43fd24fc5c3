"""How many threads pay while other programs want the cores too.

The library's threads spin until the last of them has done its part. When another program takes one
core away, all wait for the thread that stands still, at every one of some hundred steps a token:
two threads on two cores, one of them busy, were seen to be twenty times slower than one thread. So
evaluations are timed, and when two in a row take far longer than such have taken, half the threads
are used for a while; then all are tried again, after ever longer whiles as long as it does not get
better. One alone is a hiccup of the system, after which all goes on as before.
"""

from __future__ import annotations

from collections.abc import Hashable

SLOW = 2.0
# Seconds beyond what is slow: what one evaluation counts for at most, and how much is too much.
HICCUP = 0.02
TOO_MUCH = 0.025
SHORTEST_REST, LONGEST_REST = 0.25, 4.0
# A context that grows makes every step longer, so what is usual is let grow too.
GROWTH = 1.002


class Pace:
    """Times are in seconds by one clock; not thread-safe."""

    def __init__(self) -> None:
        self._usual: dict[Hashable, float] = {}
        self._lost = 0.0
        self._rest = SHORTEST_REST
        self._rests_until = float("-inf")

    def __repr__(self) -> str:
        return f"<Pace, next rest {self._rest:g} s>"

    def limit(self, threads: int, *, now: float) -> int:
        """So many of these threads are worth it now."""
        return max(1, threads // 2) if now < self._rests_until else threads

    def took(
        self, seconds: float, *, threads: int, tokens: int, now: float, kind: Hashable = None
    ) -> None:
        """An evaluation of so many tokens is done, to be compared with others of its `kind`.

        One thread waits for none: it tells nothing.
        """
        if threads == 1:
            return
        # The more at once, the less for each: they share what is read.
        alike = kind, tokens.bit_length()
        each = seconds / tokens
        usual = min(self._usual.get(alike, each), each)
        self._usual[alike] = usual * GROWTH
        lost = min(seconds - SLOW * usual * tokens, HICCUP)
        self._lost = max(0.0, self._lost / 2 + lost)
        if self._lost > TOO_MUCH:
            self._lost, self._rests_until = 0.0, now + self._rest
            self._rest = min(2 * self._rest, LONGEST_REST)
        elif now >= self._rests_until + self._rest:
            self._rest = SHORTEST_REST
