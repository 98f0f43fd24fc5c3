"""How many threads pay; the times are made up."""

from __future__ import annotations

import pytest

from jan_server.engines.decoding.pace import HICCUP, LONGEST_REST, SHORTEST_REST, Pace

USUAL = 0.005


@pytest.fixture
def pace() -> Pace:
    pace = Pace()
    pace.took(USUAL, threads=2, tokens=1, now=0)
    pace.took(64 * USUAL / 2, threads=2, tokens=64, now=0)
    return pace


def test_all_threads_are_used_while_evaluations_take_what_they_usually_do(pace: Pace) -> None:
    for now in range(1, 100):
        pace.took(USUAL * 1.5, threads=2, tokens=1, now=now)
        assert pace.limit(2, now=now) == 2


@pytest.mark.parametrize(("threads", "limit"), [(1, 1), (2, 1), (3, 1), (8, 4)])
def test_after_a_slow_evaluation_half_of_them_are_used_for_a_while(
    pace: Pace, threads: int, limit: int
) -> None:
    pace.took(20 * USUAL, threads=2, tokens=1, now=10)
    assert pace.limit(threads, now=10) == limit
    assert pace.limit(threads, now=10 + SHORTEST_REST) == threads


def test_a_slow_chunk_of_a_prompt_counts_for_its_tokens(pace: Pace) -> None:
    pace.took(64 * USUAL / 2, threads=2, tokens=64, now=10)
    assert pace.limit(2, now=10) == 2
    pace.took(64 * USUAL * 2, threads=2, tokens=64, now=10)
    assert pace.limit(2, now=10) == 1


def test_a_hiccup_is_forgiven_and_several_in_a_row_are_not(pace: Pace) -> None:
    hiccup = 2 * USUAL + 0.8 * HICCUP
    pace.took(hiccup, threads=2, tokens=1, now=10)
    assert pace.limit(2, now=10) == 2
    pace.took(hiccup, threads=2, tokens=1, now=10)
    assert pace.limit(2, now=10) == 1


def test_rests_become_longer_until_it_is_better(pace: Pace) -> None:
    now, rests = 10.0, []
    for _ in range(7):
        pace.took(1, threads=2, tokens=1, now=now)
        begun = now
        while pace.limit(2, now=now) == 1:
            now += SHORTEST_REST
        rests.append(now - begun)
    assert rests == [0.25, 0.5, 1, 2, 4, 4, LONGEST_REST]
    pace.took(USUAL, threads=2, tokens=1, now=now + LONGEST_REST)
    assert repr(pace) == f"<Pace, next rest {SHORTEST_REST} s>"


def test_one_thread_tells_nothing(pace: Pace) -> None:
    pace.took(100, threads=1, tokens=1, now=10)
    assert pace.limit(2, now=10) == 2


def test_what_is_usual_grows_with_the_context(pace: Pace) -> None:
    seconds, now = USUAL, 0.0
    for _ in range(1000):
        seconds *= 1.001
        now += seconds
        pace.took(seconds, threads=2, tokens=1, now=now)
        assert pace.limit(2, now=now) == 2
