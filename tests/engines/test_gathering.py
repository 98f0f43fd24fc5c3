"""Pieces that come faster than a screen shows them travel together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jan_server.engines.base import (
    Choice,
    Event,
    Finished,
    Likelihood,
    Piece,
    Progress,
    Started,
)
from jan_server.engines.gathering import gathered

STARTED = Started(cached_tokens=3)
FINISHED = Finished(reason="stop", completion_tokens=4)
WORDS: list[Event] = [Piece(text=f"{n} ") for n in range(4)]


class Clock:
    """Moves on by so many seconds for each token."""

    def __init__(self, step: float) -> None:
        self.now = 100.0
        self.step = step

    def __call__(self) -> float:
        return self.now

    def events(self, *events: Event) -> Iterator[Event]:
        for event in events:
            self.now += self.step if isinstance(event, Piece | Progress) else 0
            yield event


def run(step: float, *events: Event) -> list[Event]:
    clock = Clock(step)
    return list(gathered(clock.events(*events), clock=clock))


def test_pieces_of_a_slow_model_go_out_one_by_one() -> None:
    events = [STARTED, Progress(prompt_tokens_done=3), *WORDS, FINISHED]
    assert run(0.03, *events) == events


def test_the_first_piece_never_waits_and_fast_ones_travel_together() -> None:
    assert run(0.01, STARTED, *WORDS, FINISHED) == [
        STARTED,
        Piece(text="0 "),
        Piece(text="1 2 3 ", tokens=3),
        FINISHED,
    ]


def test_likelihoods_travel_with_their_pieces() -> None:
    choices = [Choice(Likelihood(n, b"%d" % n, -1.0)) for n in range(3)]
    words: list[Event] = [Piece(text=f"{n} ", choices=(choices[n],)) for n in range(3)]
    assert run(0.001, *words) == [
        Piece(text="0 ", choices=(choices[0],)),
        Piece(text="1 2 ", tokens=2, choices=(choices[1], choices[2])),
    ]


def test_tokens_that_show_nothing_are_told_of_a_few_times_a_second() -> None:
    again = Progress(prompt_tokens_done=3)
    assert run(0.0625, STARTED, *[again] * 11, FINISHED) == [STARTED, *[again] * 3, FINISHED]


def test_tokens_that_show_nothing_neither_hurry_nor_keep_what_waits() -> None:
    again = Progress(prompt_tokens_done=3)
    events = [again, WORDS[0], again, WORDS[1], again, again, again, WORDS[2], FINISHED]
    assert run(0.01, *events) == [
        again,
        Piece(text="0 "),
        Piece(text="1 "),
        Piece(text="2 "),
        FINISHED,
    ]


def test_what_waits_goes_out_before_the_end() -> None:
    assert run(0.001, STARTED, *WORDS[:3], FINISHED) == [
        STARTED,
        Piece(text="0 "),
        Piece(text="1 2 ", tokens=2),
        FINISHED,
    ]


def test_a_cancelled_answer_loses_nothing_that_was_said() -> None:
    assert run(0.001, STARTED, *WORDS[:2])[-1] == Piece(text="1 ")


def test_an_engine_that_fails_has_said_what_it_said() -> None:
    def failing() -> Iterator[Event]:
        yield from WORDS[:3]
        raise RuntimeError("broken")

    events = gathered(failing(), clock=lambda: 0.0)
    assert [next(events), next(events)] == [Piece(text="0 "), Piece(text="1 2 ", tokens=2)]
    with pytest.raises(RuntimeError, match="broken"):
        next(events)


def test_an_engine_that_fails_at_once_has_said_nothing() -> None:
    def failing() -> Iterator[Event]:
        yield STARTED
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        list(gathered(failing()))
