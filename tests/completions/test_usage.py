"""What the choices of one answer took together."""

from __future__ import annotations

import msgspec

from jan_server.completions.usage import Tally
from jan_server.engines.base import Accepted, Finished, Piece, Progress, Started


def test_a_prompt_counts_once_and_every_answer_for_itself() -> None:
    tally = Tally()
    for again in (False, True):
        tally.take(Accepted(10), again=again)
        tally.take(Started(9 if again else 4), again=again)
        tally.take(Progress(10), again=again)
        tally.take(Piece("x"), again=again)
        tally.take(Finished("stop", 5, prompt_seconds=0.25, answer_seconds=0.5), again=again)
    assert msgspec.to_builtins(tally.usage()) == {
        "prompt_tokens": 10,
        "completion_tokens": 10,
        "total_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    assert msgspec.to_builtins(tally.timings()) == {
        "cache_n": 13,
        "prompt_n": 7,
        "prompt_ms": 500.0,
        "prompt_per_second": 14.0,
        "predicted_n": 10,
        "predicted_ms": 1000.0,
        "predicted_per_second": 10.0,
    }


def test_what_was_not_timed_has_no_rate() -> None:
    tally = Tally()
    tally.take(Accepted(3))
    tally.take(Started())
    tally.take(Finished("stop", 3))
    assert (tally.timings().prompt_per_second, tally.timings().predicted_per_second) == (0.0, 0.0)
