"""Chat messages -> one prompt: the model's own template, else Jan's, else ChatML.

A message is a mapping with `role` and `content`, both text; further keys are for the model's own
template. The model's own is Jinja out of a file from the internet: `jinja.py` says what it cannot
do, and `shapes.py` how messages are said to one that refuses them. Jan's is
`settings.prompt_template` of the manifest: `plain.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jan_server.errors import InvalidRequest
from jan_server.templates import plain
from jan_server.templates.shapes import Message, shapes, shows_all, without_developers

# What the templates are given by us; `chat_template_kwargs` of a request adds to it.
RESERVED = ("messages", "add_generation_prompt", "bos_token", "eos_token")


def render(
    messages: Sequence[Message],
    *,
    chat_template: str | None = None,
    prompt_template: str | None = None,
    bos_token: str = "",
    eos_token: str = "",
    add_generation_prompt: bool = True,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> str:
    """The prompt. It may begin with `bos_token` where the model's template writes that.

    A template that refuses the messages, or leaves out what the system or the last user says, gets
    them in another shape; where none helps, it has its way. Raises InvalidRequest when the template
    refuses every shape or fails, and ModelCannotRun when Jan's template cannot be split. May take
    up to `jinja.MAX_SECONDS`.
    """
    messages = without_developers(messages)
    if chat_template:
        variables = {
            **_checked(chat_template_kwargs or {}),
            "bos_token": bos_token,
            "eos_token": eos_token,
            "add_generation_prompt": add_generation_prompt,
        }
        return _with_the_models_own(chat_template, messages, variables)
    form = plain.CHATML if not prompt_template else plain.split_prompt_template(prompt_template)
    return form.render(messages, add_generation_prompt=add_generation_prompt)


def knows_tools(chat_template: str | None) -> bool:
    """Whether the model's own template has a place for `tools`; False for one that is damaged."""
    from jan_server.templates import jinja

    return bool(chat_template) and "tools" in jinja.names_read(chat_template or "")


def _with_the_models_own(
    chat_template: str, messages: Sequence[Message], variables: Mapping[str, Any]
) -> str:
    from jan_server.templates import jinja  # Jinja takes 40 ms to import: not before it is needed

    budget = jinja.Budget()  # for all shapes together
    incomplete: list[str] = []
    errors: list[InvalidRequest] = []
    for shape in shapes(messages):
        try:
            prompt = jinja.render(chat_template, shape, variables, budget=budget)
        except (jinja.TemplateRefused, jinja.TemplateFailed) as error:
            errors.append(error)
            continue
        if shows_all(messages, shape, prompt):
            return prompt
        incomplete.append(prompt)
    if incomplete:
        return incomplete[0]
    # What it said last it said of the shape that asks least of it.
    raise next((e for e in reversed(errors) if isinstance(e, jinja.TemplateRefused)), errors[0])


def _checked(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in RESERVED:
        if name in variables:
            path = f"$.chat_template_kwargs.{name}"
            raise InvalidRequest(f"{path}: is set by the server.", param=path)
    return variables
