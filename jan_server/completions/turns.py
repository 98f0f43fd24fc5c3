"""The messages of a request -> the turns that a chat template sees.

A turn is a mapping with `role` and `content`, as templates expect it: OpenAI's `developer` is the
system of old, text parts are one text, a call's arguments are an object, and what a tool answered
carries the tool's name beside the id of the call. `content` is "" where an assistant only called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from jan_server.errors import InvalidRequest, ParameterNotSupported
from jan_server.types.chat import ChatMessage
from jan_server.types.message import SentPart, part_text, wrong_part
from jan_server.types.tool import ToolCall

Turn = dict[str, Any]


def read_turns(messages: Sequence[ChatMessage]) -> list[Turn]:
    """Raises InvalidRequest with the path of what is wrong, ParameterNotSupported for images."""
    called: dict[str, str] = {}
    turns = []
    for index, message in enumerate(messages):
        path = f"$.messages[{index}]"
        turn = _read(message, path)
        if message.tool_calls:
            turn["tool_calls"] = _calls(message, path)
            called |= {call.id: call.function.name for call in message.tool_calls}
        if message.role == "tool":
            turn |= _answered(message, called, path)
        turns.append(turn)
    return turns


def _read(message: ChatMessage, path: str) -> Turn:
    if message.function_call:
        raise ParameterNotSupported(
            f"{path}.function_call: send tool_calls instead.", param=f"{path}.function_call"
        )
    if message.content in (UNSET, None) and not _may_be_silent(message):
        raise InvalidRequest(f"{path}.content: it is missing.", param=f"{path}.content")
    role = "system" if message.role == "developer" else message.role
    turn: Turn = {"role": role, "content": _text(message.content or "", f"{path}.content")}
    if message.name:
        turn["name"] = message.name
    if message.reasoning_content:
        turn["reasoning_content"] = message.reasoning_content
    return turn


def _may_be_silent(message: ChatMessage) -> bool:
    return message.role == "assistant" and (message.content is None or bool(message.tool_calls))


def _text(content: str | list[SentPart], path: str) -> str:
    if isinstance(content, str):
        return content
    if (wrong := wrong_part(content)) is not None:
        raise ParameterNotSupported(
            f"This model reads text only, and {path}{wrong} is not a text part.",
            param=f"{path}{wrong}",
        )
    return "".join(part_text(part) for part in content)


def _calls(message: ChatMessage, path: str) -> list[dict[str, Any]]:
    if message.role != "assistant":
        raise InvalidRequest(
            f"{path}.tool_calls: only an assistant calls tools.", param=f"{path}.tool_calls"
        )
    assert message.tool_calls
    return [
        _call(call, f"{path}.tool_calls[{index}].function.arguments")
        for index, call in enumerate(message.tool_calls)
    ]


def _call(call: ToolCall, path: str) -> dict[str, Any]:
    arguments = _object(call.function.arguments, path)
    function = {"name": call.function.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _object(text: str, path: str) -> dict[str, Any]:
    """Some clients send "" for a function without arguments."""
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        reason = f"{path}: must be a JSON object as text: {error}."
        raise InvalidRequest(reason, param=path) from error


def _answered(message: ChatMessage, called: dict[str, str], path: str) -> Turn:
    id = message.tool_call_id
    if not id or id not in called:
        raise InvalidRequest(
            f"{path}.tool_call_id: must be the id of a call in an assistant's message before.",
            param=f"{path}.tool_call_id",
        )
    return {"tool_call_id": id, "name": message.name or called[id]}
