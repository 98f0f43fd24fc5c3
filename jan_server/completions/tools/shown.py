"""What the template sees: tools, calls and results in such a shape that it can show them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from jan_server.completions.tools import words
from jan_server.completions.tools.formats import OURS, ToolFormat
from jan_server.completions.turns import Turn
from jan_server.types.tool import FunctionDefinition


def show(tool: FunctionDefinition) -> dict[str, Any]:
    """A tool as templates expect it, all that they may read present."""
    function = {
        "name": tool.name,
        "description": tool.description or "",
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}


def show_turns(
    turns: Sequence[Turn], form: ToolFormat, told: Sequence[dict[str, Any]], chat_template: str
) -> list[Turn]:
    """`told` are the tools that the template itself has no place for."""
    if form is OURS:
        turns = words.with_introduction(turns, told)
        turns = words.with_results_in_text(turns)
    if form is OURS or "tool_calls" not in chat_template:
        return words.with_calls_in_text(turns, form)
    return [_native(turn, form) for turn in turns]


def _native(turn: Turn, form: ToolFormat) -> Turn:
    """The turn as templates of this form want it."""
    turn = dict(turn)
    if "tool_call_id" in turn:
        turn["tool_call_id"] = _id(turn["tool_call_id"], form)
    if "tool_calls" in turn:
        turn["tool_calls"] = [_native_call(call, form) for call in turn["tool_calls"]]
        turn["content"] = turn["content"] or form.silence
    return turn


def _native_call(call: dict[str, Any], form: ToolFormat) -> dict[str, Any]:
    function = call["function"]
    if form.arguments_are_text:
        arguments = msgspec.json.encode(function["arguments"]).decode()
        function = {**function, "arguments": arguments}
    return {**call, "id": _id(call["id"], form), "function": function}


def _id(id: str, form: ToolFormat) -> str:
    """Nine letters and digits where the template wants that, the same ones for the same id."""
    if not form.short_ids or re.fullmatch("[A-Za-z0-9]{9}", id):
        return id
    return hashlib.sha256(id.encode()).hexdigest()[:9]
