"""What a chunk of a chat says, whether this machine computed it or another server sent it. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from jan_server.engines.base import Queued
from jan_server.errors import RemoteFailed
from jan_server.types.chat import ChatCompletionChunk
from jan_server.types.run import RunUsage
from jan_server.types.tool import ToolCallDelta


class Heard(NamedTuple):
    text: str = ""
    calls: tuple[ToolCallDelta, ...] = ()
    reason: str | None = None
    usage: RunUsage | None = None


class _Delta(Struct):
    content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class _Choice(Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Chunk(Struct):
    choices: list[_Choice] = []
    usage: RunUsage | None = None


def hear(chunk: ChatCompletionChunk | Queued | dict[str, Any]) -> Heard | None:
    """None while others are before us. Raises RemoteFailed for an event that is no chunk."""
    if isinstance(chunk, Queued):
        return None
    return _of_here(chunk) if isinstance(chunk, ChatCompletionChunk) else _of_remote(chunk)


def _of_here(chunk: ChatCompletionChunk) -> Heard:
    if chunk.usage:
        usage = chunk.usage
        return Heard(
            usage=RunUsage(
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                total_tokens=usage.total_tokens,
            )
        )
    [choice] = chunk.choices
    return Heard(
        text=choice.delta.content or "",
        calls=tuple(choice.delta.tool_calls or ()),
        reason=choice.finish_reason,
    )


def _of_remote(event: dict[str, Any]) -> Heard:
    try:
        chunk = msgspec.convert(event, _Chunk)
    except msgspec.ValidationError as error:
        raise RemoteFailed(f"The remote server's answer is no chat's: {error}.") from error
    choice = chunk.choices[0] if chunk.choices else _Choice()
    return Heard(
        text=choice.delta.content or "",
        calls=tuple(choice.delta.tool_calls or ()),
        reason=choice.finish_reason,
        usage=chunk.usage,
    )
