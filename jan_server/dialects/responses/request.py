"""A request of the Responses API -> a chat completion.

What an assistant thought, said and called in a row is one message of a chat. `instructions` are the
system message of this answer alone: a response that goes on with it has its own or none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from jan_server.completions.fields import Fields
from jan_server.dialects.chat import Translated
from jan_server.errors import InvalidRequest, ParameterNotSupported
from jan_server.types.response import (
    CreateResponse,
    InputItem,
    InputPart,
    ResponseTool,
    ResponseToolChoice,
)

FIELDS = Fields(
    CreateResponse,
    refused={
        "background": (False,),
        "context_management": ([],),
        "conversation": (),
        "max_tool_calls": (),
        "moderation": (),
        "prompt": (),
    },
    instead={"conversation": "previous_response_id", "prompt": "instructions"},
    also=frozenset(
        {
            "prompt_cache_key",
            "prompt_cache_options",
            "prompt_cache_retention",
            "safety_identifier",
            "service_tier",
            "stream_options",
        }
    ),
)

LOGPROBS = "message.output_text.logprobs"
# What a model thinks is told as it is: there is nothing to encrypt.
INCLUDED = (LOGPROBS, "reasoning.encrypted_content")

_TEXTS = ("input_text", "output_text", "text", "reasoning_text", "summary_text")


class Placed(NamedTuple):
    """An item, and where in the request it is from."""

    item: InputItem
    place: str


def own_items(asked: CreateResponse) -> list[Placed]:
    """What this request adds to the conversation. Raises InvalidRequest."""
    if isinstance(asked.input, str):
        return [Placed(InputItem(role="user", content=asked.input), "$.input")]
    if not asked.input:
        raise InvalidRequest("$.input: it is missing, or empty.", param="$.input")
    return [Placed(item, f"$.input[{index}]") for index, item in enumerate(asked.input)]


def is_reference(item: InputItem) -> bool:
    """Whether it only names an item that was told before. `type` may be left out of it."""
    if item.type == "message":
        return bool(item.id) and item.role is UNSET and item.content is UNSET
    return item.type == "item_reference"


def chat_request(
    asked: CreateResponse, sent: Mapping[str, Any], items: Sequence[Placed]
) -> Translated:
    """`items` are the whole conversation. Raises InvalidRequest and ParameterNotSupported."""
    FIELDS.check(sent)
    _check_included(asked)
    messages, names = _messages(asked, items)
    tools = asked.tools or ()
    said = {
        "model": asked.model,
        "messages": messages,
        "max_tokens": asked.max_output_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "truncation": asked.truncation,
        "parallel_tool_calls": asked.parallel_tool_calls,
        "reasoning_effort": asked.reasoning and asked.reasoning.effort,
        "user": asked.user,
        "safety_identifier": sent.get("safety_identifier"),
        "tools": [_tool(tool, f"$.tools[{i}]") for i, tool in enumerate(tools)] or None,
        "tool_choice": _tool_choice(asked.tool_choice or None),
        "response_format": _format(asked),
        **_likelihoods(asked),
    }
    chat = {name: value for name, value in said.items() if value not in (UNSET, None)}
    return Translated(chat, {**names, **_names_of_tools(asked), **_NAMES})


_NAMES = {
    "$.max_tokens": "$.max_output_tokens",
    "$.messages": "$.input",
    "$.response_format": "$.text.format",
    "$.response_format.json_schema.schema": "$.text.format.schema",
    "$.tool_choice.function.name": "$.tool_choice.name",
    "$.tool_choice.allowed_tools": "$.tool_choice",
}


def _names_of_tools(asked: CreateResponse) -> dict[str, str]:
    choice = asked.tool_choice
    allowed = choice.tools if isinstance(choice, ResponseToolChoice) else ()
    of_chats = {
        **{f"$.tools[{i}]": f"$.tools[{i}]" for i in range(len(asked.tools or ()))},
        **{
            f"$.tool_choice.allowed_tools.tools[{i}]": f"$.tool_choice.tools[{i}]"
            for i in range(len(allowed or ()))
        },
    }
    return {f"{name}.function": place for name, place in of_chats.items()}


def _check_included(asked: CreateResponse) -> None:
    for index, name in enumerate(asked.include or ()):
        if name not in INCLUDED:
            raise ParameterNotSupported(
                f"$.include[{index}]: there is no {name!r} here: leave it out.",
                param=f"$.include[{index}]",
            )
    if asked.text and asked.text.verbosity in ("low", "high"):
        raise ParameterNotSupported(
            "$.text.verbosity: this server cannot honour it: say it in the instructions.",
            param="$.text.verbosity",
        )


def _likelihoods(asked: CreateResponse) -> dict[str, Any]:
    if not asked.top_logprobs and LOGPROBS not in (asked.include or ()):
        return {}
    return {"logprobs": True, "top_logprobs": asked.top_logprobs or 0}


# --- items -----------------------------------------------------------------------------------

ChatMessages = list[dict[str, Any]]


def _messages(
    asked: CreateResponse, items: Sequence[Placed]
) -> tuple[ChatMessages, dict[str, str]]:
    """The chat's messages, and from which place each of them is."""
    found: ChatMessages = []
    places: list[str] = []
    if asked.instructions:
        found.append({"role": "system", "content": asked.instructions})
        places.append("$.instructions")
    for item, place in items:
        if _is_assistants(item, place):
            if not found or found[-1]["role"] != "assistant" or _begins_anew(item, found[-1]):
                found.append({"role": "assistant", "content": ""})
                places.append(place)
            _add(found[-1], item, place)
        else:
            found.append(_message(item, place))
            places.append(place)
    names = {f"$.messages[{index}]": place for index, place in enumerate(places)}
    results = {f"{name}.tool_call_id": f"{place}.call_id" for name, place in list(names.items())}
    return found, {**names, **results}


def _is_assistants(item: InputItem, place: str) -> bool:
    """Raises for an item of a kind that no chat has."""
    if item.type not in ("message", "function_call", "function_call_output", "reasoning"):
        raise ParameterNotSupported(
            f"$.type: items of the type {item.type!r} are not possible here.".replace("$", place),
            param=f"{place}.type",
        )
    if item.type == "message":
        role: str = _needed(item.role, f"{place}.role")
        return role == "assistant"
    return item.type != "function_call_output"


def _begins_anew(item: InputItem, last: Mapping[str, Any]) -> bool:
    """Whether it is another message: thoughts come first, and text before calls."""
    if item.type == "function_call":
        return False
    if item.type == "reasoning":
        return True
    return bool(last["content"]) or "tool_calls" in last


def _add(message: dict[str, Any], item: InputItem, place: str) -> None:
    if item.type == "reasoning":
        said = item.content or item.summary or []
        message["reasoning_content"] = _text(said, f"{place}.content")
    elif item.type == "message":
        message["content"] = _text(_needed(item.content, f"{place}.content"), f"{place}.content")
    else:
        message.setdefault("tool_calls", []).append(_call(item, place))


def _call(item: InputItem, place: str) -> dict[str, Any]:
    function = {
        "name": _needed(item.name, f"{place}.name"),
        "arguments": _needed(item.arguments, f"{place}.arguments"),
    }
    id = _needed(item.call_id, f"{place}.call_id")
    return {"id": id, "type": "function", "function": function}


def _message(item: InputItem, place: str) -> dict[str, Any]:
    if item.type == "function_call_output":
        output = _text(_needed(item.output, f"{place}.output"), f"{place}.output")
        id = _needed(item.call_id, f"{place}.call_id")
        return {"role": "tool", "tool_call_id": id, "content": output}
    content = _needed(item.content, f"{place}.content")
    return {"role": item.role, "content": _text(content, f"{place}.content")}


def _needed(value: Any, place: str) -> Any:
    if value is UNSET or value is None:
        raise InvalidRequest(f"{place}: it is missing.", param=place)
    return value


def _text(content: str | Sequence[InputPart], place: str) -> str:
    if isinstance(content, str):
        return content
    return "".join(_part_text(part, f"{place}[{index}]") for index, part in enumerate(content))


def _part_text(part: InputPart, place: str) -> str:
    if part.type not in _TEXTS:
        raise ParameterNotSupported(
            f"This model reads text only, and {place} is not a text part.", param=place
        )
    text: str = _needed(part.text, f"{place}.text")
    return text


def item_text(item: InputItem) -> str:
    """What a message says, as far as it is text."""
    return _text(item.content or "", "$")


# --- tools and form --------------------------------------------------------------------------


def _tool(tool: ResponseTool, place: str) -> dict[str, Any]:
    if tool.type != "function":
        raise ParameterNotSupported(
            f"{place}.type: {tool.type!r} is a tool that OpenAI's servers run; only functions, "
            "which you run, are possible here.",
            param=f"{place}.type",
        )
    function = {"name": _needed(tool.name, f"{place}.name")}
    for name in ("description", "parameters", "strict"):
        if (value := getattr(tool, name)) not in (UNSET, None):
            function[name] = value
    return {"type": "function", "function": function}


def _tool_choice(choice: str | ResponseToolChoice | None) -> Any:
    if choice is None or isinstance(choice, str):
        return choice
    if choice.type == "function":
        return _named(choice, "$.tool_choice")
    if choice.type != "allowed_tools":
        raise ParameterNotSupported(
            f"$.tool_choice.type: {choice.type!r} is not possible here.",
            param="$.tool_choice.type",
        )
    tools = [
        _named(tool, f"$.tool_choice.tools[{index}]")
        for index, tool in enumerate(choice.tools or ())
    ]
    allowed = {
        "mode": _needed(choice.mode, "$.tool_choice.mode"),
        "tools": _needed(tools or None, "$.tool_choice.tools"),
    }
    return {"type": "allowed_tools", "allowed_tools": allowed}


def _named(choice: ResponseToolChoice, place: str) -> dict[str, Any]:
    name = _needed(choice.name, f"{place}.name")
    return {"type": "function", "function": {"name": name}}


def _format(asked: CreateResponse) -> dict[str, Any] | None:
    form = asked.text and asked.text.format
    if not form or form.type == "text":
        return None
    if form.type == "json_object":
        return {"type": "json_object"}
    schema = {
        "name": _needed(form.name, "$.text.format.name"),
        "schema": _needed(form.schema, "$.text.format.schema"),
    }
    for name in ("description", "strict"):
        if (value := getattr(form, name)) not in (UNSET, None):
            schema[name] = value
    return {"type": "json_schema", "json_schema": schema}


# --- what a response shows of its request ----------------------------------------------------

SHOWN = (
    "instructions",
    "max_output_tokens",
    "parallel_tool_calls",
    "reasoning",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
    "metadata",
)


def shown(asked: CreateResponse) -> dict[str, Any]:
    """The fields that were said, as JSON values."""
    values = msgspec.to_builtins(asked)
    return {name: values[name] for name in SHOWN if values.get(name) is not None}
