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


def slow(pace: Pace, times: int, *, now: float, seconds: float = 20 * USUAL) -> None:
    for _ in range(times):
        pace.took(seconds, threads=2, tokens=1, now=now)


@pytest.mark.parametrize(("threads", "limit"), [(1, 1), (2, 1), (3, 1), (8, 4)])
def test_after_two_slow_evaluations_half_of_them_are_used_for_a_while(
    pace: Pace, threads: int, limit: int
) -> None:
    slow(pace, 2, now=10)
    assert pace.limit(threads, now=10) == limit
    assert pace.limit(threads, now=10 + SHORTEST_REST) == threads


def test_a_slow_chunk_of_a_prompt_counts_for_its_tokens(pace: Pace) -> None:
    for seconds, limit in ((32 * USUAL, 2), (128 * USUAL, 2), (128 * USUAL, 1)):
        pace.took(seconds, threads=2, tokens=64, now=10)
        assert pace.limit(2, now=10) == limit


@pytest.mark.parametrize("seconds", [2 * USUAL + HICCUP, 1.0, 60.0])
def test_one_slow_evaluation_is_forgiven_however_slow(pace: Pace, seconds: float) -> None:
    for now in (10, 20, 30):
        slow(pace, 1, now=now, seconds=seconds)
        assert pace.limit(2, now=now) == 2
        pace.took(USUAL, threads=2, tokens=1, now=now)
        pace.took(USUAL, threads=2, tokens=1, now=now)


def test_a_little_too_slow_again_and_again_is_too_much(pace: Pace) -> None:
    slow(pace, 1, now=10, seconds=2 * USUAL + 0.8 * HICCUP)
    slow(pace, 1, now=10, seconds=2 * USUAL + 0.8 * HICCUP)
    assert pace.limit(2, now=10) == 2
    slow(pace, 1, now=10, seconds=2 * USUAL + 0.8 * HICCUP)
    assert pace.limit(2, now=10) == 1


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 8])
def test_few_tokens_at_once_are_not_measured_by_many(tokens: int) -> None:
    """Of a large model: one takes 130 ms, as what is read for it does, of 64 each 20."""
    pace = Pace()
    pace.took(64 * 0.02, threads=2, tokens=64, now=0)
    for now in range(10, 20):
        pace.took(0.13 + 0.01 * tokens, threads=2, tokens=tokens, now=now)
        assert pace.limit(2, now=now) == 2


def test_what_is_of_another_kind_is_not_compared(pace: Pace) -> None:
    """Without logits, or behind few tokens, one may take a tenth of the time."""
    for now in range(10, 20):
        pace.took(USUAL, threads=2, tokens=1, now=now, kind=(5, False))
        pace.took(USUAL * 10, threads=2, tokens=1, now=now, kind=(12, True))
        assert pace.limit(2, now=now) == 2


def test_rests_become_longer_until_it_is_better(pace: Pace) -> None:
    now, rests = 10.0, []
    for _ in range(7):
        slow(pace, 2, now=now)
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
