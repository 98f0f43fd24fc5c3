"""An engine's events -> the chunks of a chat's answer; chunks -> a plain answer.

Every choice has its first chunk with the role, chunks of what it says, and one with the finish
reason. The likelihoods of tokens whose text is still held back go with the next chunk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
from msgspec import UNSET, UnsetType
from ulid import ULID

from jan_server.completions import likelihoods
from jan_server.completions.reply_parser import ReplyParser, Said
from jan_server.completions.usage import Tally, UsageTold
from jan_server.engines import base
from jan_server.engines.base import Event, Finished, Piece, Started
from jan_server.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    Delta,
    FinishReason,
    LogProbs,
    ReplyMessage,
)
from jan_server.types.tool import FunctionCall, ToolCall, ToolCallDelta


class Reply:
    """Makes the chunks of one answer.

    `parser` makes a new one for every choice. With `logprobs` chunks carry likelihoods.
    `truncated` is how many messages were left out, if that was to be said.
    """

    def __init__(
        self,
        model: str,
        *,
        choices: int,
        parser: Callable[[], ReplyParser],
        logprobs: bool,
        usage: UsageTold,
        truncated: int | UnsetType,
    ) -> None:
        self._model = model
        self._id = f"chatcmpl-{ULID()}"
        self._created = int(time.time())
        self._choices = choices
        self._new_parser = parser
        self._parser = parser()
        self._logprobs = logprobs
        self._held: list[base.Choice] = []
        self._usage = usage
        self._truncated = truncated
        self._tally = Tally()

    def take(self, index: int, event: Event) -> Iterator[ChatCompletionChunk]:
        """The chunks that an event of that choice makes."""
        self._tally.take(event, again=index > 0)
        match event:
            case Started():
                self._parser = self._new_parser()
                first = self._chunk(index, Delta(role="assistant", content=""))
                yield self._telling_of_truncation(first) if index == 0 else first
            case Piece():
                self._held.extend(event.choices)
                for said in self._parser.push(event.text):
                    yield self._chunk(index, _delta(said), logprobs=self._told())
            case Finished():
                for said in self._parser.finish():
                    yield self._chunk(index, _delta(said), logprobs=self._told())
                yield from self._ending(index, event)

    def _ending(self, index: int, event: Finished) -> Iterator[ChatCompletionChunk]:
        calls = event.reason == "stop" and self._parser.called
        reason: FinishReason = "tool_calls" if calls else event.reason
        finish = self._chunk(index, Delta(), reason=reason, logprobs=self._told())
        if event.stop_string is not None:
            finish.choices[0].stop_reason = event.stop_string
        if index < self._choices - 1:
            yield finish
        elif self._usage == "never":
            yield self._last(finish)
        else:
            yield finish
            usage = self._tally.usage()
            yield self._last(msgspec.structs.replace(finish, choices=[], usage=usage))

    def _last(self, chunk: ChatCompletionChunk) -> ChatCompletionChunk:
        timed = msgspec.structs.replace(chunk, timings=self._tally.timings())
        return self._telling_of_truncation(timed)

    def _telling_of_truncation(self, chunk: ChatCompletionChunk) -> ChatCompletionChunk:
        return msgspec.structs.replace(chunk, truncated_messages=self._truncated)

    def _told(self) -> LogProbs | None:
        if not (self._logprobs and self._held):
            return None
        held, self._held = self._held, []
        return likelihoods.chat_logprobs(held)

    def _chunk(
        self,
        index: int,
        delta: Delta,
        *,
        reason: FinishReason | None = None,
        logprobs: LogProbs | None = None,
    ) -> ChatCompletionChunk:
        choice = ChunkChoice(index=index, delta=delta, finish_reason=reason, logprobs=logprobs)
        return ChatCompletionChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[choice],
            usage=self._tally.usage_so_far(self._usage),
        )


def _delta(said: Said | ToolCallDelta) -> Delta:
    if isinstance(said, ToolCallDelta):
        return Delta(tool_calls=[said])
    if said.kind == "reasoning_content":
        return Delta(reasoning_content=said.text)
    return Delta(content=said.text)


def joined(chunks: Sequence[ChatCompletionChunk]) -> ChatCompletion:
    """The plain answer of a stream whose last chunk carries the usage."""
    last = chunks[-1]
    assert last.usage, "the usage was to be told"
    assert last.timings, "and with the timings"
    parts: dict[int, list[ChunkChoice]] = {}
    for chunk in chunks:
        for part in chunk.choices:
            parts.setdefault(part.index, []).append(part)
    return ChatCompletion(
        id=last.id,
        created=last.created,
        model=last.model,
        choices=[_joined_choice(index, of_one) for index, of_one in parts.items()],
        usage=last.usage,
        timings=last.timings,
        truncated_messages=last.truncated_messages,
    )


def _joined_choice(index: int, parts: Sequence[ChunkChoice]) -> Choice:
    reason = parts[-1].finish_reason
    assert reason, "an engine's last event is Finished"
    told = [part.logprobs for part in parts if part.logprobs]
    content = [token for logprobs in told for token in logprobs.content]
    return Choice(
        index=index,
        message=_message([part.delta for part in parts]),
        finish_reason=reason,
        stop_reason=parts[-1].stop_reason,
        logprobs=LogProbs(content=content) if told else None,
    )


def _message(deltas: Sequence[Delta]) -> ReplyMessage:
    """Content is null where tools are called and nothing is said."""
    content = "".join(delta.content or "" for delta in deltas)
    reasoning = "".join(delta.reasoning_content or "" for delta in deltas)
    calls = _calls(deltas)
    return ReplyMessage(
        content=None if calls and not content else content,
        reasoning_content=reasoning or UNSET,
        tool_calls=calls or UNSET,
    )


def _calls(deltas: Sequence[Delta]) -> list[ToolCall]:
    calls: dict[int, ToolCall] = {}
    for part in (part for delta in deltas for part in delta.tool_calls or ()):
        if part.index not in calls:
            named = FunctionCall(name=part.function.name or "", arguments="")
            calls[part.index] = ToolCall(id=part.id or "", function=named)
        calls[part.index].function.arguments += part.function.arguments or ""
    return list(calls.values())
