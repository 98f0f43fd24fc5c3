"""What tools make of a request: what the template sees, what the answer is held to, who reads it.

`tool_choice` decides: with `none` the model does not see the tools; with `auto` its answer is free
until it begins to call; with `required` or a name the whole answer is calls. Beside a
`response_format`, an answer is calls or of that format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from jan_server import templates
from jan_server.completions import reasoning
from jan_server.completions.reply_parser import ReplyParser
from jan_server.completions.tools import choice, formats, grammar, shown
from jan_server.completions.tools.calls import ToolCallParser
from jan_server.completions.tools.choice import Offer
from jan_server.completions.tools.formats import OURS, ToolFormat
from jan_server.completions.turns import Turn
from jan_server.engines.base import Constraint
from jan_server.errors import ParameterNotSupported
from jan_server.types.chat import ChatCompletionRequest


class Guidance(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is told beside the prompt."""

    constraint: Constraint | None = None
    visible: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to render, and then, from the rendered prompt, how to ask and how to read the answer.

    The prompt counts because a template may begin the model's reasoning in it.
    """

    turns: list[Turn]
    template_variables: dict[str, Any]
    form: ToolFormat
    marks: reasoning.Marks | None
    offer: Offer | None
    answer: Constraint | None
    constrains: bool

    def guidance(self, prompt: str) -> Guidance:
        marks = (self.marks.opens, self.marks.closes) if self.marks else ()
        controls = self.form.controls if self.offer else ()
        constraint = self._constraint()
        if self.marks and constraint and self._reasons(prompt) and not constraint.after:
            constraint = grammar.after_thinking(constraint, self.marks.closes)
        return Guidance(constraint=constraint, visible=(*marks, *controls))

    def parser(self, prompt: str) -> ReplyParser:
        """A new one, for one answer."""
        thoughts = calls = None
        if self.marks:
            thoughts = reasoning.ReasoningSplitter(self.marks, inside=self._reasons(prompt))
        if offer := self.offer:
            names = frozenset(tool.name for tool in offer.tools)
            calls = ToolCallParser(self.form, names, one=offer.one)
        return ReplyParser(thoughts, calls)

    def _reasons(self, prompt: str) -> bool:
        return self.marks is not None and reasoning.begins_inside(prompt, self.marks)

    def _constraint(self) -> Constraint | None:
        if (offer := self.offer) is None or not self.constrains:
            return self.answer
        if offer.mode == "required":
            return grammar.forced(self.form, offer.tools, one=offer.one)
        if self.answer is not None:
            return grammar.either(self.form, offer.tools, self.answer, one=offer.one)
        return grammar.offered(self.form, offer.tools, one=offer.one)


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
    offer = choice.read(request)
    _check_together(offer, constraint, constrains=constrains)
    form = _form(chat_template, constraint if offer else None)
    tools = [shown.show(tool.function) for tool in request.tools or ()] if offer else []
    told, given = (tools, []) if form is OURS else ([], tools)
    return Plan(
        turns=shown.show_turns(turns, form, told, chat_template or ""),
        template_variables={"tools": given} if given else {},
        form=form,
        marks=reasoning.find(chat_template),
        offer=offer,
        answer=constraint,
        constrains=constrains,
    )


def _form(chat_template: str | None, constraint: Constraint | None) -> ToolFormat:
    if not chat_template or not templates.knows_tools(chat_template):
        return OURS
    form = formats.find(chat_template)
    # Where a call begins as any JSON object does, a grammar cannot tell it from an answer in JSON.
    return form if form.trigger or not constraint else OURS


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
