"""Tools in plain words, for templates that have no place for them, or not for all of it.

The system message lists the tools and says how to call one, in Hermes's form, which most small
models have seen. Calls of turns before stand in the assistant's text as it wrote them, results in
the user's turn behind, so that a template needs no role beside system, user and assistant.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jan_server.completions.tools.formats import ToolFormat
from jan_server.completions.turns import Turn

_INTRODUCTION = """\
You can call functions. Each line between <tools> and </tools> describes one:
<tools>
{tools}
</tools>
To call a function, write its name and a JSON object with its arguments like this:
<tool_call>
{{"name": "the name", "arguments": {{"an argument": "its value"}}}}
</tool_call>
The results come in the next message, between <tool_response> and </tool_response>."""


def with_introduction(turns: Sequence[Turn], tools: Sequence[dict[str, Any]]) -> list[Turn]:
    """The tools are told in the system message, behind what it says already."""
    if not tools:
        return list(turns)
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    told = _INTRODUCTION.format(tools=lines)
    if not turns or turns[0]["role"] != "system":
        return [{"role": "system", "content": told}, *turns]
    first = {**turns[0], "content": _joined(turns[0]["content"], told, "\n\n")}
    return [first, *turns[1:]]


def with_calls_in_text(turns: Sequence[Turn], form: ToolFormat) -> list[Turn]:
    return [_call_in_text(turn, form) if "tool_calls" in turn else turn for turn in turns]


def _call_in_text(turn: Turn, form: ToolFormat) -> Turn:
    rest = {key: value for key, value in turn.items() if key != "tool_calls"}
    written = write(form, [call["function"] for call in turn["tool_calls"]])
    return {**rest, "content": _joined(turn["content"], written, "\n")}


def write(form: ToolFormat, calls: Sequence[dict[str, Any]]) -> str:
    """The calls as a model of this form writes them."""
    texts = (
        form.head
        + call["name"]
        + form.middle
        + json.dumps(call["arguments"], ensure_ascii=False)
        + form.tail
        for call in calls
    )
    joint = "\n" if form.joint is None else form.joint
    return form.opens + joint.join(texts) + form.closes


def with_results_in_text(turns: Sequence[Turn]) -> list[Turn]:
    """Results become the user's words; all of one round, and what the user says then, one turn."""
    told: list[Turn] = []
    before = ""
    for turn in turns:
        role = turn["role"]
        if role == "tool":
            turn = {"role": "user", "content": _response(turn)}
        if before == "tool" and turn["role"] == "user":
            turn = {**turn, "content": _joined(told.pop()["content"], turn["content"], "\n")}
        told.append(turn)
        before = role
    return told


def _response(turn: Turn) -> str:
    return f"<tool_response>\n{turn['content']}\n</tool_response>"


def _joined(first: str, second: str, between: str) -> str:
    return f"{first}{between}{second}" if first else second
