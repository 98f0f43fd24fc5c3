"""An answer's text as it grows -> what it says: reasoning, content, calls of tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from jan_server.completions.reasoning import ReasoningSplitter
from jan_server.completions.tools.calls import Part, ToolCallParser
from jan_server.types.tool import ToolCallDelta


class Said(msgspec.Struct, frozen=True):
    """Text of an answer, never empty, and the field of a delta that it belongs in."""

    kind: Literal["content", "reasoning_content"]
    text: str


class ReplyParser:
    """Push text, get what it says; with neither part, all of it is content, at once, unchanged.

    `called` tells whether a call has begun; a finish reason of `stop` is `tool_calls` then.
    """

    def __init__(self, thoughts: ReasoningSplitter | None, calls: ToolCallParser | None) -> None:
        self._thoughts = thoughts
        self._calls = calls
        self.called = False

    def push(self, text: str) -> list[Said | ToolCallDelta]:
        thought, rest = self._thoughts.push(text) if self._thoughts else ("", text)
        parts: Sequence[Part] = self._calls.push(rest) if self._calls else [rest]
        return self._told(thought, parts)

    def finish(self) -> list[Said | ToolCallDelta]:
        """What was held back until it was clear what it is."""
        thought, rest = self._thoughts.finish() if self._thoughts else ("", "")
        parts = [rest] if self._calls is None else self._calls.push(rest) + self._calls.finish()
        return self._told(thought, parts)

    def _told(self, thought: str, parts: Sequence[Part]) -> list[Said | ToolCallDelta]:
        said: list[Said | ToolCallDelta] = [Said("reasoning_content", thought)] if thought else []
        for part in parts:
            if isinstance(part, ToolCallDelta):
                self.called = True
                said.append(part)
            elif part:
                said.append(Said("content", part))
        return said
