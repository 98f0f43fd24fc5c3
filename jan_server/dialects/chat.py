"""A request that was translated into a chat completion, and the parts of its answer.

A chat's chunks, our own or another server's, are read as parts: that the answer has begun, text,
thought, a call, a piece of its arguments, and the end. What is wrong is told with the names of the
fields that the request really had.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, Literal, NamedTuple

import msgspec

from jan_server.completions import Chats, Texts
from jan_server.engines.base import Queued
from jan_server.errors import InvalidRequest
from jan_server.types.chat import ChatCompletionChunk, ChatCompletionRequest

Reason = Literal["stop", "length", "tool_calls"]


class Translated(NamedTuple):
    """A chat completion's JSON; `names` are places in it -> those in the request it came from.

    `type` says when it is a completion of plain text.
    """

    sent: dict[str, Any]
    names: Mapping[str, str]
    type: type[Any] = ChatCompletionRequest

    @property
    def request(self) -> Any:
        """With the usage in each chunk, where the answer is made here."""
        options = {"include_usage": True, "continuous_usage_stats": True}
        return msgspec.convert({**self.sent, "stream_options": options}, self.type)

    @property
    def to_send(self) -> dict[str, Any]:
        """Not every server knows more than `include_usage`."""
        return {**self.sent, "stream": True, "stream_options": {"include_usage": True}}


class Counts(NamedTuple):
    """Tokens: of the prompt, of which some were cached, and of the answer, of which some were
    thought. Times in seconds."""

    prompt: int = 0
    cached: int = 0
    answer: int = 0
    thought: int = 0
    prompt_seconds: float = 0.0
    answer_seconds: float = 0.0


class Begun(NamedTuple):
    """The prompt is about to be computed. `counts` are 0 where another server answers."""

    model: str
    counts: Counts


class Text(NamedTuple):
    text: str


class Thought(NamedTuple):
    text: str


class Call(NamedTuple):
    """A tool is called; the arguments follow."""

    id: str
    name: str


class Arguments(NamedTuple):
    """A piece of the arguments of the last call, which are JSON."""

    text: str


class Likelihoods(NamedTuple):
    """Those of the tokens that the next part was made of, in OpenAI's shape."""

    tokens: list[dict[str, Any]]


class Ended(NamedTuple):
    """`stop_string` is the one that was met, if one was."""

    reason: Reason
    stop_string: str | None
    counts: Counts


Part = Queued | Begun | Text | Thought | Call | Arguments | Likelihoods | Ended


async def parts(chats: Chats | Texts, asked: Translated, *, client: str) -> AsyncGenerator[Part]:
    """The answer as it grows. Begun and Ended come once each. Raises as Chats.stream."""
    reader = Reader()
    with naming(asked.names):
        stream: AsyncGenerator[Any] = chats.stream(asked.request, asked.to_send, client=client)
        async with aclosing(stream):
            async for item in stream:
                if isinstance(item, Queued):
                    yield item
                    continue
                for part in reader.take(item):
                    yield part
    yield reader.end()


@contextmanager
def naming(names: Mapping[str, str]) -> Iterator[None]:
    """Errors tell of the fields of the request that was translated."""
    try:
        yield
    except InvalidRequest as error:
        error.message = renamed(error.message, names)
        error.param = error.param and renamed(error.param, names)
        raise


def renamed(text: str, names: Mapping[str, str]) -> str:
    """With each place that begins with one of `names` as it was in the request."""
    if not names:
        return text
    longest_first = sorted(names, key=len, reverse=True)
    pattern = "|".join(re.escape(name) for name in longest_first)
    return re.sub(rf"(?:{pattern})(?!\w)", lambda found: names[found[0]], text)


def arguments_of(text: str) -> dict[str, Any]:
    """The arguments of a call that was made. Those that were cut off, or are no object, are none:
    an answer says why it ended."""
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


class Reader:
    """Reads the chunks of one choice, of a chat or of plain text."""

    def __init__(self) -> None:
        self._begun = False
        self._calls: set[int] = set()
        self._reason: Reason = "stop"
        self._stop_string: str | None = None
        self._counts = Counts()
        self._thought = 0

    def take(self, chunk: ChatCompletionChunk | Mapping[str, Any]) -> Iterator[Part]:
        """A chunk of ours, or another server's JSON, of which nothing is certain."""
        value = chunk if isinstance(chunk, Mapping) else msgspec.to_builtins(chunk)
        self._count(value)
        if not self._begun:
            self._begun = True
            yield Begun(value.get("model") or "", self._counts)
        for choice in value.get("choices") or ():
            yield from self._read(choice)

    def end(self) -> Ended:
        # OpenAI says `stop` of an answer that had to call.
        called = self._calls and self._reason == "stop" and self._stop_string is None
        return Ended("tool_calls" if called else self._reason, self._stop_string, self._counts)

    def _read(self, choice: Mapping[str, Any]) -> Iterator[Part]:
        delta = choice.get("delta") or {}
        if tokens := (choice.get("logprobs") or {}).get("content"):
            yield Likelihoods(tokens)
        if thought := delta.get("reasoning_content") or delta.get("reasoning"):
            self._thought = self._counts.answer
            yield Thought(thought)
        if text := delta.get("content") or choice.get("text"):
            yield Text(text)
        for call in delta.get("tool_calls") or ():
            yield from self._read_call(call)
        self._end(choice)

    def _read_call(self, call: Mapping[str, Any]) -> Iterator[Part]:
        function, index = call.get("function") or {}, call.get("index") or 0
        if index not in self._calls:
            self._calls.add(index)
            yield Call(call.get("id") or "", function.get("name") or "")
        if piece := function.get("arguments"):
            yield Arguments(piece)

    def _end(self, choice: Mapping[str, Any]) -> None:
        reason, stop = choice.get("finish_reason"), choice.get("stop_reason")
        if reason:
            self._reason = reason if reason in ("length", "tool_calls") else "stop"
        if isinstance(stop, str):  # vLLM also has the ids of tokens there.
            self._stop_string = stop

    def _count(self, value: Mapping[str, Any]) -> None:
        usage, timings = value.get("usage"), value.get("timings") or {}
        details = (usage or {}).get("completion_tokens_details") or {}
        if usage:
            self._counts = Counts(
                prompt=usage.get("prompt_tokens") or 0,
                cached=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
                answer=usage.get("completion_tokens") or 0,
                thought=details.get("reasoning_tokens") or self._thought,
                prompt_seconds=(timings.get("prompt_ms") or 0) / 1000,
                answer_seconds=(timings.get("predicted_ms") or 0) / 1000,
            )
