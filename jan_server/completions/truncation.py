"""A conversation that is too long: its oldest turns are left out, whole.

What goes together goes together: a question with all that was answered to it, so that what is left
begins with a user's turn, as templates want it. System turns stay, and so does the last user's.
Where that one alone is followed by much, as while tools are called, the oldest calls go with their
results; the last of them stays. A tool's result never stays without its call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from jan_server.completions.turns import Turn
from jan_server.types.sampling import Truncation

Turns = Sequence[Turn]

SYSTEM_ROLES = ("system", "developer")


def room_for_answer(context_length: int, max_tokens: int | None) -> int:
    """So many tokens a truncated prompt should leave: what the request itself asks for.

    At most half of the context, as many clients ask for a whole one by habit; a quarter where the
    request says nothing.
    """
    asked = context_length // 4 if max_tokens is None else max_tokens
    return max(1, min(asked, context_length // 2))


def units(turns: Turns) -> list[list[int]]:
    """What may be left out, by their places in the conversation, in the order to do so."""
    places = [place for place, turn in enumerate(turns) if turn["role"] not in SYSTEM_ROLES]
    asked = [place for place in places if turns[place]["role"] == "user"]
    last = asked[-1] if asked else -1
    older = _split(places, lambda place: turns[place]["role"] == "user", until=last)
    newer = _split(
        [place for place in places if place > last],
        lambda place: turns[place]["role"] == "assistant",
    )
    return [*older, *newer[:-1]]


def _split(
    places: Sequence[int], begins: Callable[[int], bool], *, until: int | None = None
) -> list[list[int]]:
    """Runs of places, each but the first beginning where `begins` says so."""
    runs: list[list[int]] = []
    for place in places:
        if until is not None and place >= until:
            break
        if not runs or begins(place):
            runs.append([])
        runs[-1].append(place)
    return runs


def without(turns: Turns, left_out: Sequence[Sequence[int]]) -> list[Turn]:
    places = {place for unit in left_out for place in unit}
    return [turn for place, turn in enumerate(turns) if place not in places]


async def truncated(turns: Turns, fits: Callable[[Turns], Awaitable[bool]]) -> list[Turn]:
    """The conversation without as few of its oldest units as make it fit, or without all of them.

    Asks `fits` as often as the logarithm of their number.
    """
    if await fits(turns):
        return list(turns)
    order = units(turns)
    too_long, short = 0, len(order)
    while short - too_long > 1:
        middle = (too_long + short) // 2
        if await fits(without(turns, order[:middle])):
            short = middle
        else:
            too_long = middle
    return without(turns, order[:short])


def chosen_truncation(*said: Any) -> Truncation:
    """The first that says something; what a request and a manifest do not say is `disabled`."""
    return next((value for value in said if value in ("auto", "disabled")), "disabled")
