"""The parts of a chat's answer -> Anthropic's message, whole and as events; errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET
from ulid import ULID

from jan_server.dialects.chat import (
    Arguments,
    Begun,
    Call,
    Counts,
    Ended,
    Part,
    Text,
    Thought,
    arguments_of,
)
from jan_server.errors import JanError
from jan_server.types.anthropic import (
    AnswerBlock,
    AnthropicError,
    AnthropicErrorDetail,
    AnthropicMessage,
    AnthropicStopReason,
    AnthropicUsage,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    InputJsonDelta,
    MessageDelta,
    MessageEvent,
    MessageStart,
    MessageStop,
    Ping,
    SignatureDelta,
    StopDelta,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolUseBlock,
)


class Answer:
    """Feed it the parts of a chat's answer: it gives the events, and holds the message so far."""

    def __init__(self, *, shows_thinking: bool) -> None:
        self._shows_thinking = shows_thinking
        self._input = ""  # of the tool that is being used
        self._open = False
        self.message = AnthropicMessage(id=f"msg_{ULID()}", model="", usage=AnthropicUsage())

    def take(self, part: Part) -> Iterator[MessageEvent]:
        match part:
            case Begun():
                self.message.model = part.model
                self.message.usage = _usage(part.counts)
                # A copy of what there is: the message grows before the event is sent.
                yield MessageStart(message=msgspec.structs.replace(self.message, content=[]))
                yield Ping()
            case Text():
                yield from self._block(TextBlock(text=""))
                yield self._delta(TextDelta(text=part.text))
                self.message.content[-1].text += part.text  # type: ignore[union-attr]
            case Thought() if self._shows_thinking:
                yield from self._block(ThinkingBlock(thinking=""))
                yield self._delta(ThinkingDelta(thinking=part.text))
                self.message.content[-1].thinking += part.text  # type: ignore[union-attr]
            case Call():
                yield from self._close()
                yield self._begin(ToolUseBlock(id=part.id, name=part.name))
            case Arguments():
                self._input += part.text
                yield self._delta(InputJsonDelta(partial_json=part.text))
            case Ended():
                yield from self._close()
                yield from self._end(part)

    def _block(self, block: TextBlock | ThinkingBlock) -> Iterator[MessageEvent]:
        """Begin it, unless the last one is of its kind."""
        if not (self._open and isinstance(self.message.content[-1], type(block))):
            yield from self._close()
            yield self._begin(block)

    def _begin(self, block: AnswerBlock) -> ContentBlockStart:
        self._open = True
        self.message.content.append(block)
        shown = msgspec.structs.replace(block)
        return ContentBlockStart(index=len(self.message.content) - 1, content_block=shown)

    def _delta(
        self, delta: TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta
    ) -> ContentBlockDelta:
        return ContentBlockDelta(index=len(self.message.content) - 1, delta=delta)

    def _close(self) -> Iterator[MessageEvent]:
        if not self._open:
            return
        self._open = False
        block = self.message.content[-1]
        if isinstance(block, ThinkingBlock):
            yield self._delta(SignatureDelta())
        if isinstance(block, ToolUseBlock):
            block.input, self._input = arguments_of(self._input), ""
        yield ContentBlockStop(index=len(self.message.content) - 1)

    def _end(self, part: Ended) -> Iterator[MessageEvent]:
        reason = "stop_sequence" if part.stop_string is not None else _REASONS[part.reason]
        self.message.stop_reason, self.message.stop_sequence = reason, part.stop_string
        self.message.usage = _usage(part.counts)
        yield MessageDelta(
            delta=StopDelta(stop_reason=reason, stop_sequence=part.stop_string),
            usage=self.message.usage,
        )
        yield MessageStop()


_REASONS: dict[str, AnthropicStopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
}


def _usage(counts: Counts) -> AnthropicUsage:
    return AnthropicUsage(
        input_tokens=counts.prompt - counts.cached,
        cache_read_input_tokens=counts.cached,
        output_tokens=counts.answer,
    )


_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


# Anthropic's package would leave a conversation with the server. Told in these words that it is not
# kept, its runner of tools sends the whole of it.
_DETAILS: dict[str, dict[str, Any]] = {
    "$.thread": {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
}


def error_body(error: JanError) -> AnthropicError:
    other = "api_error" if error.status >= 500 else "invalid_request_error"
    detail = AnthropicErrorDetail(
        type=_ERROR_TYPES.get(error.status, other),
        message=error.message,
        param=error.param,
        code=error.code,
        details=_DETAILS.get(error.param or "", UNSET),
    )
    return AnthropicError(error=detail, message=error.message)
