"""Calls of tools as a grammar, which the engine holds the answer to.

The grammars are llguidance's Lark. What may be a control token stands in a string of its own there,
for the engine to take it as the token. White space in arguments is at most one after `,` and `:`:
small models, free to put any, go on with it for ever.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from jan_server.completions.schemas import closed
from jan_server.completions.tools.formats import ToolFormat
from jan_server.engines.base import Constraint
from jan_server.engines.constraints import JSON_LAYOUT
from jan_server.types.tool import FunctionDefinition

_SPACING = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}
_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}

# An answer that is no call, where calls have no mark but their first character.
_FREE_TEXT = r"/[^{\s](.|\n)*/"
_GAP = r"/\s{0,2}/"


def forced(form: ToolFormat, tools: Sequence[FunctionDefinition], *, one: bool) -> Constraint:
    """The whole answer is calls."""
    return _lark({"start": "GAP calls", "GAP": _GAP, **_calls(form, tools, one=one)}, form)


def offered(form: ToolFormat, tools: Sequence[FunctionDefinition], *, one: bool) -> Constraint:
    """The answer is what the model likes; where it begins to call, it is held to that."""
    if not form.trigger:
        rules = _calls(form, tools, one=True)
        start = {"start": "GAP (FREE | calls)?", "GAP": _GAP, "FREE": _FREE_TEXT}
        return _lark({**start, **rules}, form)
    # Each call with its own trigger is a match of its own, and the next trigger begins the next.
    rules = _calls(form, tools, one=one or not form.opens, begun=form.trigger)
    constraint = _lark({"start": "calls", **rules}, form)
    return msgspec.structs.replace(constraint, after=(form.trigger,), ends=one)


def either(
    form: ToolFormat, tools: Sequence[FunctionDefinition], answer: Constraint, *, one: bool
) -> Constraint:
    """The answer is calls, or else matches a JSON Schema. The form must have a trigger."""
    rules = _calls(form, tools, one=one)
    return _lark({"start": "GAP (calls | answer)", **_answer(answer), **rules}, form)


def after_thinking(constraint: Constraint, closes: str) -> Constraint:
    """The same of what stands behind the reasoning, which `closes` ends."""
    if constraint.kind == "json_schema":
        constraint = _lark({"start": "GAP answer", **_answer(constraint)})
    return msgspec.structs.replace(constraint, after=(closes,), ends=True)


def _answer(constraint: Constraint) -> dict[str, str]:
    schema = msgspec.json.decode(constraint.text)
    if isinstance(schema, dict):
        schema = {"x-guidance": JSON_LAYOUT, **schema}
    return {"GAP": _GAP, "answer": f"%json {json.dumps(schema)}"}


def _lark(rules: dict[str, str], form: ToolFormat | None = None) -> Constraint:
    lines = [f"{name}: {body}\n" for name, body in rules.items()]
    if form and _goes_on_as_it_ends(form):
        # What two control tokens begin with alike would be forced upon the model, letter by letter,
        # and neither token could come any more.
        lines.insert(0, '%llguidance {"no_forcing": true}\n')
    return Constraint(kind="lark", text="".join(lines))


def _goes_on_as_it_ends(form: ToolFormat) -> bool:
    return ((form.joint or "") + form.head)[:1] == form.closes[:1]


def _calls(
    form: ToolFormat, tools: Sequence[FunctionDefinition], *, one: bool, begun: str = ""
) -> dict[str, str]:
    """The rules of `calls`, without the text that stands there already."""
    opens, head = form.opens.removeprefix(begun), form.head
    if not form.opens:
        head = head.removeprefix(begun)
    more = form.joint is not None and not one
    joint = _strings(form.joint or "", form.controls)
    calls = [_strings(opens, form.controls), "call", f"({joint} call)*" if more else ""]
    rules = {
        "calls": " ".join((*calls, _strings(form.closes, form.controls))),
        "call": " | ".join(f"call_{index}" for index in range(len(tools))),
    }
    for index, tool in enumerate(tools):
        parts = (head, tool.name, form.middle)
        before = " ".join(_strings(part, form.controls) for part in parts)
        tail = _strings(form.tail, form.controls)
        rules[f"call_{index}"] = f"{before} arguments_{index} {tail}"
        rules[f"arguments_{index}"] = f"%json {json.dumps(_schema(tool))}"
    return rules


def _schema(tool: FunctionDefinition) -> dict[str, Any]:
    schema = tool.parameters or _NO_ARGUMENTS
    # Clients pass on schemas that others wrote, with words that no grammar knows (`uniqueItems`).
    options = {**_SPACING, "lenient": not tool.strict}
    return {"x-guidance": options, "type": "object", **(closed(schema) if tool.strict else schema)}


def _strings(text: str, controls: Sequence[str]) -> str:
    """The text as strings of Lark, each control token apart."""
    if not text:
        return ""
    pattern = "|".join(map(re.escape, controls))
    parts = re.split(f"({pattern})", text) if controls else [text]
    return " ".join(json.dumps(part, ensure_ascii=False) for part in parts if part)
