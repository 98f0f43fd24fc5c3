"""An engine's events -> the chunks of an answer; chunks -> a plain answer."""

from __future__ import annotations

import time

import msgspec
from ulid import ULID

from jan_server.engines.base import Event, Finished, Piece, Progress, Started
from jan_server.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    Delta,
    FinishReason,
    PromptTokensDetails,
    ReplyMessage,
    Usage,
)


class Reply:
    """What all chunks of one answer share, and what has been counted so far."""

    def __init__(self, model: str) -> None:
        self._id = f"chatcmpl-{ULID()}"
        self._model = model
        self._created = int(time.time())
        self._started = Started(prompt_tokens=0)

    def take(self, event: Event) -> list[ChatCompletionChunk]:
        """The chunks that an engine's event makes."""
        match event:
            case Started():
                self._started = event
                return [self._chunk(Delta(role="assistant", content=""))]
            case Piece():
                return [self._chunk(Delta(content=event.text))]
            case Finished():
                return [self._chunk(Delta(), event.reason), self._last(event)]
            case Progress():
                return []

    def _chunk(self, delta: Delta, reason: FinishReason | None = None) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[ChunkChoice(delta=delta, finish_reason=reason)],
            usage=None,
        )

    def _last(self, finished: Finished) -> ChatCompletionChunk:
        prompt, answer = self._started.prompt_tokens, finished.completion_tokens
        usage = Usage(
            prompt_tokens=prompt,
            completion_tokens=answer,
            total_tokens=prompt + answer,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self._started.cached_tokens),
        )
        return msgspec.structs.replace(self._chunk(Delta()), choices=[], usage=usage)


def joined(chunks: list[ChatCompletionChunk]) -> ChatCompletion:
    *_, finish, last = chunks
    reason = finish.choices[0].finish_reason
    assert reason, "an engine's last event is Finished"
    assert last.usage, "and makes the usage"
    text = "".join(c.choices[0].delta.content or "" for c in chunks[:-1])
    return ChatCompletion(
        id=last.id,
        created=last.created,
        model=last.model,
        choices=[
            Choice(
                index=0,
                message=ReplyMessage(content=text),
                finish_reason=reason,
            )
        ],
        usage=last.usage,
    )
