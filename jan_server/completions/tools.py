"""What tools make of a request: what the template sees, what the answer is held to, who reads it.

`tool_choice` decides: with `none` the model does not see the tools; with `auto` its answer is free
until it begins to call; with `required` or a name the whole answer is calls. All tools are shown
to a model that may call some of them. A named tool is called once, and with `parallel_tool_calls`
false any tool is. Beside a `response_format`, an answer is calls or of that format.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from jan_server import templates
from jan_server.completions import reasoning, tool_formats, tool_grammar, tool_words
from jan_server.completions.reply_parser import ReplyParser, Said
from jan_server.completions.tool_calls import ToolCallParser
from jan_server.completions.tool_formats import OURS, ToolFormat
from jan_server.completions.turns import Turn
from jan_server.engines.base import Constraint
from jan_server.errors import InvalidRequest, ParameterNotSupported
from jan_server.types.chat import ChatCompletionRequest
from jan_server.types.tool import AllowedTools, FunctionDefinition, NamedTool

__all__ = ["Guidance", "Plan", "ReplyParser", "Said", "plan"]

Mode = Literal["auto", "required"]


class Guidance(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is told beside the prompt."""

    constraint: Constraint | None = None
    visible: tuple[str, ...] = ()


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """The tools that may be called, and how; `one` call at most."""

    form: ToolFormat
    tools: tuple[FunctionDefinition, ...]
    mode: Mode
    one: bool


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to render, and then, from the rendered prompt, how to ask and how to read the answer.

    The prompt counts because a template may begin the model's reasoning in it.
    """

    turns: list[Turn]
    template_variables: dict[str, Any]
    marks: reasoning.Marks | None = None
    offer: Offer | None = None
    answer: Constraint | None = None
    constrains: bool = True

    def guidance(self, prompt: str) -> Guidance:
        marks = (self.marks.opens, self.marks.closes) if self.marks else ()
        controls = self.offer.form.controls if self.offer else ()
        constraint = self._constraint()
        if self.marks and constraint and self._reasons(prompt) and not constraint.after:
            constraint = tool_grammar.after_thinking(constraint, self.marks.closes)
        return Guidance(constraint=constraint, visible=(*marks, *controls))

    def parser(self, prompt: str) -> ReplyParser:
        """A new one, for one answer."""
        thoughts = calls = None
        if self.marks:
            thoughts = reasoning.ReasoningSplitter(self.marks, inside=self._reasons(prompt))
        if offer := self.offer:
            names = frozenset(tool.name for tool in offer.tools)
            calls = ToolCallParser(offer.form, names, one=offer.one)
        return ReplyParser(thoughts, calls)

    def _reasons(self, prompt: str) -> bool:
        return self.marks is not None and reasoning.begins_inside(prompt, self.marks)

    def _constraint(self) -> Constraint | None:
        if (offer := self.offer) is None or not self.constrains:
            return self.answer
        if offer.mode == "required":
            return tool_grammar.forced(offer.form, offer.tools, one=offer.one)
        if self.answer is not None:
            return tool_grammar.either(offer.form, offer.tools, self.answer, one=offer.one)
        return tool_grammar.offered(offer.form, offer.tools, one=offer.one)


def plan(
    request: ChatCompletionRequest,
    turns: Sequence[Turn],
    *,
    chat_template: str | None,
    constrains: bool,
    constraint: Constraint | None,
) -> Plan:
    """`constraint` is what the answer must match if it is no call; None when it need not.

    Raises InvalidRequest for tools or a choice that are wrong, ParameterNotSupported for what this
    engine cannot promise or what does not go together.
    """
    offer = _offer(request, _form(chat_template, constraint))
    _check_together(offer, constraint, constrains=constrains)
    shown = [_shown(tool.function) for tool in request.tools or ()] if offer else []
    form = offer.form if offer else _form(chat_template, None)
    native = form is not OURS
    return Plan(
        turns=_turns(turns, form, [] if native else shown, chat_template or ""),
        template_variables={"tools": shown} if native and shown else {},
        marks=reasoning.find(chat_template),
        offer=offer,
        answer=constraint,
        constrains=constrains,
    )


def _form(chat_template: str | None, constraint: Constraint | None) -> ToolFormat:
    if not chat_template or not templates.knows_tools(chat_template):
        return OURS
    form = tool_formats.find(chat_template)
    # Where a call begins as any JSON object does, a grammar cannot tell it from an answer in JSON.
    return form if form.trigger or not constraint else OURS


def _offer(request: ChatCompletionRequest, form: ToolFormat) -> Offer | None:
    tools = [tool.function for tool in request.tools or ()]
    _check_tools(tools)
    mode, names = _choice(request, {tool.name for tool in tools})
    if mode is None or not tools:
        return None
    named = isinstance(request.tool_choice, NamedTool)
    return Offer(
        form=form,
        tools=tuple(tool for tool in tools if tool.name in names),
        mode=mode,
        one=named or request.parallel_tool_calls is False,
    )


def _check_tools(tools: Sequence[FunctionDefinition]) -> None:
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        path = f"$.tools[{index}].function"
        if tool.name in seen:
            raise InvalidRequest(
                f"{path}.name: another tool is named {tool.name!r}.", param=f"{path}.name"
            )
        if (tool.parameters or {}).get("type", "object") != "object":
            raise InvalidRequest(
                f"{path}.parameters: must be the schema of an object.", param=f"{path}.parameters"
            )
        seen.add(tool.name)


def _choice(request: ChatCompletionRequest, known: set[str]) -> tuple[Mode | None, set[str]]:
    """The mode, None for no calls, and the names of the tools that may be called."""
    choice = request.tool_choice
    match choice:
        case NamedTool():
            mode: Mode | None = "required"
            names = {choice.function.name: "$.tool_choice.function.name"}
        case AllowedTools():
            mode = choice.allowed_tools.mode
            path = "$.tool_choice.allowed_tools.tools"
            names = {
                tool.function.name: f"{path}[{index}].function.name"
                for index, tool in enumerate(choice.allowed_tools.tools)
            }
        case _:
            mode = None if choice == "none" else "required" if choice == "required" else "auto"
            names = dict.fromkeys(known, "")
    if mode == "required" and not known:
        raise InvalidRequest("$.tool_choice: there are no tools to call.", param="$.tool_choice")
    for name, path in names.items():
        if name not in known:
            raise InvalidRequest(f"{path}: no tool is named {name!r}.", param=path)
    return mode, set(names)


def _check_together(
    offer: Offer | None, constraint: Constraint | None, *, constrains: bool
) -> None:
    if offer is None:
        return
    if offer.mode == "required" and not constrains:
        raise ParameterNotSupported(
            "This model's engine cannot be held to calling a tool: leave tool_choice out.",
            param="$.tool_choice",
        )
    if offer.mode == "auto" and constraint and constraint.kind != "json_schema":
        raise ParameterNotSupported(
            "Tools go together with a JSON Schema for the answer, not with a grammar or regular "
            "expression: leave one of them out.",
            param="$.tools",
        )


def _shown(tool: FunctionDefinition) -> dict[str, Any]:
    """A tool as templates expect it, all that they may read present."""
    function = {
        "name": tool.name,
        "description": tool.description or "",
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}


def _turns(
    turns: Sequence[Turn], form: ToolFormat, told: Sequence[dict[str, Any]], chat_template: str
) -> list[Turn]:
    """The turns in such a shape that the template can show them."""
    if form is OURS:
        turns = tool_words.with_introduction(turns, told)
        turns = tool_words.with_results_in_text(turns)
    if form is OURS or "tool_calls" not in chat_template:
        return tool_words.with_calls_in_text(turns, form)
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
