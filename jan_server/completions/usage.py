"""What the choices of one answer took together: tokens and time."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from jan_server.engines.base import Accepted, Event, Finished, Piece, Started
from jan_server.types.sampling import StreamOptions
from jan_server.types.usage import PromptTokensDetails, Timings, Usage

UsageTold = Literal["never", "last", "always"]
"""Which events of a stream carry the usage: none; a last one more; each, as it is so far."""


def usage_told(options: StreamOptions | UnsetType | None) -> UsageTold:
    if not options or not options.include_usage:
        return "never"
    return "always" if options.continuous_usage_stats else "last"


class Tally:
    """Adds up the events of several requests, one after the other."""

    def __init__(self) -> None:
        self._length = 0  # of the prompt that is being answered
        self._prompt = self._cached = 0
        self._evaluated = self._kept = self._answer = 0
        self._growing = 0  # of the answer that is not finished
        self._prompt_seconds = self._answer_seconds = 0.0

    def take(self, event: Event, *, again: bool = False) -> None:
        """`again`: the same prompt was answered before, and is counted once."""
        match event:
            case Accepted():
                self._length = event.prompt_tokens
                self._prompt += 0 if again else self._length
            case Started():
                self._evaluated += self._length - event.cached_tokens
                self._kept += event.cached_tokens
                self._cached += 0 if again else event.cached_tokens
            case Piece():
                self._growing += event.tokens
            case Finished():
                self._growing = 0
                self._answer += event.completion_tokens
                self._prompt_seconds += event.prompt_seconds
                self._answer_seconds += event.answer_seconds

    def usage(self) -> Usage:
        """So far: tokens that show nothing yet are counted when the answer is finished."""
        answered = self._answer + self._growing
        return Usage(
            prompt_tokens=self._prompt,
            completion_tokens=answered,
            total_tokens=self._prompt + answered,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self._cached),
        )

    def usage_so_far(self, told: UsageTold) -> Usage | UnsetType | None:
        """What an event that is not the last one carries."""
        if told == "never":
            return UNSET
        return self.usage() if told == "always" else None

    def timings(self) -> Timings:
        return Timings(
            cache_n=self._kept,
            prompt_n=self._evaluated,
            prompt_ms=_milliseconds(self._prompt_seconds),
            prompt_per_second=_rate(self._evaluated, self._prompt_seconds),
            predicted_n=self._answer,
            predicted_ms=_milliseconds(self._answer_seconds),
            predicted_per_second=_rate(self._answer, self._answer_seconds),
        )


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 3) if seconds > 0 else 0.0
