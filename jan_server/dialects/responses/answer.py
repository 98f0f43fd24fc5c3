"""The parts of a chat's answer -> a response, and the events of its stream, in OpenAI's order.

Each item is added, its content part too, it grows, its text is done, its part, and the item. The
numbers of a stream's events begin at 0.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
from ulid import ULID

from jan_server.dialects.chat import (
    Arguments,
    Begun,
    Call,
    Counts,
    Ended,
    Likelihoods,
    Part,
    Text,
    Thought,
)
from jan_server.errors import JanError
from jan_server.types.response import (
    ArgumentsDelta,
    ArgumentsDone,
    IncompleteDetails,
    InputTokensDetails,
    ItemAdded,
    ItemDone,
    ItemStatus,
    OutputCall,
    OutputItem,
    OutputMessage,
    OutputReasoning,
    OutputText,
    OutputTextDelta,
    OutputTextDone,
    OutputTokensDetails,
    PartAdded,
    PartDone,
    ReasoningDelta,
    ReasoningDone,
    ReasoningText,
    Response,
    ResponseCompleted,
    ResponseCreated,
    ResponseError,
    ResponseErrorEvent,
    ResponseEvent,
    ResponseFailed,
    ResponseIncomplete,
    ResponseInProgress,
    ResponseUsage,
)

MESSAGE = "msg_"
"""Begins the id of a message's item, which ends with the id of its line in the thread."""


class Answer:
    """Feed it the parts of an answer: it gives the events, and `response` is it so far."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self._number = 0
        self._open: OutputItem | None = None
        self._likelihoods: list[dict[str, Any]] = []

    def take(self, part: Part) -> Iterator[ResponseEvent]:
        for event in self._events(part):
            event.sequence_number = self._number
            self._number += 1
            yield event

    def fail(self, error: JanError) -> Iterator[ResponseEvent]:
        """It cannot go on: what was said stays, as incomplete."""
        for event in (*self._close("incomplete"), self._failed(error)):
            event.sequence_number = self._number
            self._number += 1
            yield event

    def _events(self, part: Part) -> Iterator[ResponseEvent]:
        match part:
            case Begun():
                yield ResponseCreated(response=self._copy())
                yield ResponseInProgress(response=self._copy())
            case Likelihoods():
                self._likelihoods.extend(part.tokens)
            case Thought():
                yield from self._think(part.text)
            case Text():
                yield from self._say(part.text)
            case Call():
                yield from self._close("completed")
                id = self._new_id("fc_")
                call = OutputCall(id=id, status="in_progress", call_id=part.id, name=part.name)
                yield self._add(call)
            case Arguments():
                yield self._argue(part.text)
            case Ended():
                is_cut = part.reason == "length"
                yield from self._close("incomplete" if is_cut else "completed")
                yield self._end(part)

    def _think(self, text: str) -> Iterator[ResponseEvent]:
        if not isinstance(self._open, OutputReasoning):
            yield from self._close("completed")
            item = OutputReasoning(id=self._new_id("rs_"), status="in_progress")
            yield from self._begin(item, ReasoningText(text=""))
        assert isinstance(self._open, OutputReasoning)
        self._open.content[0].text += text
        yield ReasoningDelta(item_id=self._open.id, output_index=self._index, delta=text)

    def _say(self, text: str) -> Iterator[ResponseEvent]:
        if not isinstance(self._open, OutputMessage):
            yield from self._close("completed")
            item = OutputMessage(id=self._new_id(MESSAGE), status="in_progress")
            yield from self._begin(item, OutputText(text=""))
        assert isinstance(self._open, OutputMessage)
        logprobs, self._likelihoods = self._likelihoods, []
        self._open.content[0].text += text
        self._open.content[0].logprobs.extend(logprobs)
        yield OutputTextDelta(
            item_id=self._open.id, output_index=self._index, delta=text, logprobs=logprobs
        )

    def _argue(self, text: str) -> ResponseEvent:
        assert isinstance(self._open, OutputCall), "a call begins before its arguments"
        self._open.arguments += text
        return ArgumentsDelta(item_id=self._open.id, output_index=self._index, delta=text)

    def _new_id(self, prefix: str) -> str:
        """An item's id says where it is kept, as that of its response does."""
        kept = self.response.id.partition("_")[2].rpartition("_")
        return "".join((prefix, *kept[:2], str(ULID())))

    @property
    def _index(self) -> int:
        return len(self.response.output) - 1

    def _add(self, item: OutputItem) -> ResponseEvent:
        self._open = item
        self.response.output.append(item)
        return ItemAdded(output_index=self._index, item=_copied(item))

    def _begin(self, item: OutputMessage | OutputReasoning, part: Any) -> Iterator[ResponseEvent]:
        yield self._add(item)
        yield PartAdded(item_id=item.id, output_index=self._index, part=_copied(part))
        item.content.append(part)

    def _close(self, status: ItemStatus) -> Iterator[ResponseEvent]:
        item, self._open = self._open, None
        if item is None:
            return
        yield from _done(item, self._index)
        item.status = status
        yield ItemDone(output_index=self._index, item=_copied(item))

    def _end(self, part: Ended) -> ResponseEvent:
        self.response.usage = _usage(part.counts)
        self.response.completed_at = int(time.time())
        if part.reason == "length":
            self.response.status = "incomplete"
            self.response.incomplete_details = IncompleteDetails(reason="max_output_tokens")
            return ResponseIncomplete(response=self._copy())
        self.response.status = "completed"
        return ResponseCompleted(response=self._copy())

    def _failed(self, error: JanError) -> ResponseEvent:
        self.response.status, self.response.error = "failed", error_of(error)
        return ResponseFailed(response=self._copy())

    def _copy(self) -> Response:
        response: Response = _copied(self.response)
        return response


def _done(item: OutputItem, index: int) -> Iterator[ResponseEvent]:
    """What is whole of an item, but for itself."""
    match item:
        case OutputMessage():
            [said] = item.content
            yield OutputTextDone(
                item_id=item.id, output_index=index, text=said.text, logprobs=said.logprobs
            )
            yield PartDone(item_id=item.id, output_index=index, part=_copied(said))
        case OutputReasoning():
            [thought] = item.content
            yield ReasoningDone(item_id=item.id, output_index=index, text=thought.text)
            yield PartDone(item_id=item.id, output_index=index, part=_copied(thought))
        case OutputCall():
            yield ArgumentsDone(
                item_id=item.id, output_index=index, name=item.name, arguments=item.arguments
            )


def _copied(value: Any) -> Any:
    """An event is sent when what it tells of has grown on."""
    return msgspec.convert(msgspec.to_builtins(value), type(value))


def _usage(counts: Counts) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=counts.prompt,
        input_tokens_details=InputTokensDetails(cached_tokens=counts.cached),
        output_tokens=counts.answer,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=counts.thought),
        total_tokens=counts.prompt + counts.answer,
    )


def error_of(error: JanError) -> ResponseError:
    if error.status == 429:
        return ResponseError(code="rate_limit_exceeded", message=error.message)
    code: Any = "server_error" if error.status >= 500 else "invalid_prompt"
    return ResponseError(code=code, message=error.message)


def error_event(error: JanError) -> ResponseErrorEvent:
    return ResponseErrorEvent(code=error.code, message=error.message, param=error.param)
