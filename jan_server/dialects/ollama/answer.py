"""The parts of an answer -> Ollama's lines; an error as it has it.

A call is told whole, when its arguments are. `load_duration` is all that was not computing: the
model was loaded, or others were before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET

from jan_server.dialects.chat import (
    Arguments,
    Call,
    Ended,
    Likelihoods,
    Part,
    Text,
    Thought,
    arguments_of,
)
from jan_server.errors import JanError
from jan_server.types.ollama import (
    ChatLine,
    DoneReason,
    GenerateLine,
    Line,
    OllamaError,
    OllamaFunction,
    OllamaReply,
    OllamaToolCall,
)


class Said(msgspec.Struct):
    """What a line says."""

    text: str = ""
    thinking: str = ""
    calls: list[OllamaToolCall] = []
    likelihoods: list[dict[str, Any]] = []

    def add(self, other: Said) -> None:
        self.text += other.text
        self.thinking += other.thinking
        self.calls.extend(other.calls)
        self.likelihoods.extend(other.likelihoods)


Making = Callable[[str, Said], Line]


def chat_line(model: str, said: Said) -> ChatLine:
    reply = OllamaReply(
        role="assistant",
        content=said.text,
        thinking=said.thinking or UNSET,
        tool_calls=said.calls or UNSET,
    )
    return ChatLine(model=model, created_at=moment(), message=reply)


def generate_line(model: str, said: Said) -> GenerateLine:
    return GenerateLine(
        model=model,
        created_at=moment(),
        response=said.text,
        thinking=said.thinking or UNSET,
    )


def done_line(make: Making, model: str, reason: DoneReason) -> Line:
    """Of a request that had nothing to answer."""
    line = make(model, Said())
    line.done, line.done_reason = True, reason
    return line


class Answer:
    """Feed it the parts of an answer: it gives the lines, or with `whole` all of it as one.

    `model` is as the request names it.
    """

    def __init__(
        self,
        make: Making,
        model: str,
        *,
        whole: bool,
        thinks: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._model = model
        self._whole = whole
        self._thinks = thinks
        self._clock = clock
        self._began = clock()
        self._said = Said()  # and is in no line yet
        self._call: Call | None = None
        self._arguments = ""
        self._calls = 0

    def take(self, part: Part) -> Iterator[Line]:
        match part:
            case Text():
                yield from self._say(Said(text=part.text))
            case Thought() if self._thinks:
                yield from self._say(Said(thinking=part.text))
            case Likelihoods():
                self._said.likelihoods.extend(part.tokens)
            case Call():
                yield from self._called()
                self._call = part
            case Arguments():
                self._arguments += part.text
            case Ended():
                yield from self._called()
                yield self._end(part)

    def _say(self, said: Said) -> Iterator[Line]:
        self._said.add(said)
        if not self._whole:
            yield self._line()

    def _line(self) -> Line:
        said, self._said = self._said, Said()
        line = self._make(self._model, said)
        line.logprobs = said.likelihoods or UNSET
        return line

    def _called(self) -> Iterator[Line]:
        """The call that was being made, now that nothing more comes of it."""
        if (call := self._call) is None:
            return
        function = OllamaFunction(
            index=self._calls, name=call.name, arguments=arguments_of(self._arguments)
        )
        self._call, self._arguments, self._calls = None, "", self._calls + 1
        yield from self._say(Said(calls=[OllamaToolCall(id=call.id or UNSET, function=function)]))

    def _end(self, part: Ended) -> Line:
        counts, total = part.counts, self._clock() - self._began
        computing = counts.prompt_seconds + counts.answer_seconds
        line = self._line()
        line.done, line.done_reason = True, "length" if part.reason == "length" else "stop"
        line.total_duration = _nanoseconds(total)
        line.load_duration = _nanoseconds(max(0.0, total - computing))
        line.prompt_eval_count = counts.prompt
        line.prompt_eval_duration = _nanoseconds(counts.prompt_seconds)
        line.eval_count = counts.answer
        line.eval_duration = _nanoseconds(counts.answer_seconds)
        return line


def moment(seconds: float | None = None) -> str:
    """A time, or now, as Ollama writes it."""
    when = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def error_body(error: JanError) -> OllamaError:
    return OllamaError(error=error.message)
