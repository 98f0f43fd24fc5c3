"""How many threads pay; the times and shares are made up."""

from __future__ import annotations

import pytest

from jan_server.engines.decoding.pace import (
    ENOUGH,
    LONGEST_REST,
    MEMORY,
    SHORTEST_REST,
    WINDOW,
    WORTH,
    Pace,
)

TOKEN = 0.009
CHUNK = 0.25
TAKEN = 0.5
"""The share that is left beside one other program on two cores, or less."""


@pytest.fixture
def pace() -> Pace:
    return Pace()


def write(pace: Pace, times: int, *, now: float, share: float = TAKEN) -> None:
    for _ in range(times):
        pace.took_all(TOKEN, share=share, tokens=1, now=now)


def read(pace: Pace, *, now: float, share: float = TAKEN, seconds: float = CHUNK) -> None:
    pace.took_all(seconds, share=share, tokens=64, now=now)


def test_all_threads_are_used_while_they_have_their_cores(pace: Pace) -> None:
    for now in range(1, 100):
        write(pace, 10, now=now, share=0.9)
        read(pace, now=now, share=ENOUGH + 0.01)
        assert pace.limit(2, now=now) == 2


@pytest.mark.parametrize(("threads", "limit"), [(1, 1), (2, 1), (3, 1), (8, 4)])
def test_after_two_chunks_of_a_prompt_with_few_cores_half_are_used_for_a_while(
    pace: Pace, threads: int, limit: int
) -> None:
    read(pace, now=10)
    assert pace.limit(threads, now=10) == threads
    read(pace, now=10)
    assert pace.limit(threads, now=10) == limit
    rest = WORTH * CHUNK * (1 - TAKEN)
    assert pace.limit(threads, now=10 + 0.99 * rest) == limit
    assert pace.limit(threads, now=10 + 1.01 * rest) == threads


def test_so_are_a_few_tokens_in_a_row(pace: Pace) -> None:
    write(pace, 2, now=10)
    assert pace.limit(2, now=10) == 2
    write(pace, 2, now=10)
    assert pace.limit(2, now=10) == 1
    assert pace.limit(2, now=10 + SHORTEST_REST) == 2


def test_one_hiccup_is_forgiven_to_a_token(pace: Pace) -> None:
    for now in range(10, 100):
        pace.took_all(TOKEN, share=0.0, tokens=1, now=now)
        assert pace.limit(2, now=now) == 2
        write(pace, int(WINDOW / TOKEN) * 3, now=now, share=1.0)


def test_where_nearly_all_is_taken_one_is_enough(pace: Pace) -> None:
    read(pace, now=10, share=0.1)
    assert pace.limit(2, now=10) == 1


def test_whoever_cuts_in_now_and_then_is_forgiven(pace: Pace) -> None:
    for now in range(10, 100):
        read(pace, now=now)
        assert pace.limit(2, now=now) == 2
        write(pace, 10, now=now, share=0.96)


def test_rests_become_longer_until_it_is_better(pace: Pace) -> None:
    now, rests = 10.0, []
    for _ in range(7):
        write(pace, 3, now=now)
        begun = now
        while pace.limit(2, now=now) == 1:
            now += SHORTEST_REST
        rests.append(now - begun)
    assert rests == [0.25, 0.5, 1, 2, 4, 4, LONGEST_REST]
    write(pace, int(SHORTEST_REST / TOKEN), now=now, share=1.0)
    assert repr(pace) == f"<Pace, 100% of the cores, next rest {LONGEST_REST:g} s>"
    write(pace, 1, now=now, share=1.0)
    assert repr(pace) == f"<Pace, 100% of the cores, next rest {SHORTEST_REST} s>"


def test_who_comes_now_and_then_causes_short_rests_alone(pace: Pace) -> None:
    """As the next program that a user asks, when an answer is out."""
    for now in range(10, 100):
        assert pace.limit(2, now=now) == 2
        write(pace, 50, now=now, share=0.96)
        pace.took_all(0.06, share=0.1, tokens=1, now=now)
        assert pace.limit(2, now=now) == 1
        assert pace.limit(2, now=now + SHORTEST_REST) == 2


def test_a_rest_makes_up_for_what_the_trial_cost(pace: Pace) -> None:
    read(pace, now=10, seconds=6, share=0.1)
    assert pace.limit(2, now=10 + 0.99 * WORTH * 5.4) == 1
    assert pace.limit(2, now=10 + 1.01 * WORTH * 5.4) == 2


def test_all_stay_where_they_are_the_faster_all_the_same(pace: Pace) -> None:
    """As a library's whose threads sleep while they wait for each other."""
    pace.took_half(1.5 * CHUNK, tokens=64, now=10, kind="long")
    for now in (10, 20, 30):
        pace.took_all(CHUNK, share=0.1, tokens=64, now=now, kind="long")
        assert pace.limit(2, now=now) == 2


@pytest.mark.parametrize(
    ("half", "tokens", "kind", "later"),
    [
        (0.9 * CHUNK, 64, "long", 0),
        (1.5 * CHUNK, 64, "long", MEMORY),
        (1.5 * CHUNK, 64, "short", 0),
        (1.5 * CHUNK, 1, "long", 0),
    ],
    ids=["half are faster", "that was long ago", "of another kind", "of fewer tokens"],
)
def test_half_are_tried_when_it_is_not_known_that_all_are_faster(
    pace: Pace, half: float, tokens: int, kind: str, later: float
) -> None:
    pace.took_half(half, tokens=tokens, now=10, kind=kind)
    pace.took_all(CHUNK, share=0.1, tokens=64, now=10 + later, kind="long")
    assert pace.limit(2, now=10 + later) == 1
