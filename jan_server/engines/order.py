"""In which order the waiting are served: pure.

Clients take turns, whatever each has sent:

1. The client with the fewest answers at work goes first;
2. of these the one that has waited longest: since its oldest request arrived, or since its last
   answer ended, whichever came later. So nobody waits for ever, however many new clients come, and
   of a client with nothing waiting nothing needs to be remembered.
3. Within a client it goes by arrival.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec


class Waiting(msgspec.Struct, frozen=True):
    """A request that waits, and when it arrived."""

    id: int
    client: str
    arrived: int


def in_order(
    waiting: Sequence[Waiting], *, at_work: Iterable[str], served: Mapping[str, int]
) -> list[int]:
    """The ids of the waiting, which are given by arrival, as they will be served.

    `at_work` are the clients of the answers in the slots, one for each. `served` says when the last
    answer of a client ended, on the clock of the arrivals; one that ended before all of them came
    may be left out.
    """
    busy = Counter(at_work)
    turn = dict(served)
    now = max([*turn.values(), *(one.arrived for one in waiting)], default=0)
    left, ordered = list(waiting), []
    while left:
        # The least of a client's own is its oldest, as `min` takes the first of equal ones.
        next_one = min(left, key=lambda one: (busy[one.client], _since(one, turn)))
        left.remove(next_one)
        ordered.append(next_one.id)
        now += 1
        turn[next_one.client] = now
        busy[next_one.client] += 1
    return ordered


def _since(one: Waiting, turn: Mapping[str, int]) -> int:
    return max(one.arrived, turn.get(one.client, 0))
