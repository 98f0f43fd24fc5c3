"""What `responses.jsonl` holds of a response, and what requests and answers say of it.

There a message is the id of its line of `messages.jsonl`, which alone has its text, and other items
are as they came or were answered. Whatever a person made of either file, what cannot be understood
is left out, and everything around it stays.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET
from ulid import ULID

from jan_server.dialects.responses.answer import MESSAGE
from jan_server.dialects.responses.request import Placed
from jan_server.store import Message, formats
from jan_server.types.response import (
    InputItem,
    OutputCall,
    OutputMessage,
    OutputReasoning,
    OutputText,
    Response,
    StoredResponse,
)

logger = logging.getLogger(__name__)

Items = list[dict[str, Any]]

_PREFIXES = {"function_call": "fc_", "function_call_output": "fco_", "reasoning": "rs_"}


def response_of(stored: StoredResponse) -> Response:
    """Without its output."""
    values = {
        "text": {"format": {"type": "text"}},
        **stored.asked,
        "id": stored.id,
        "created_at": stored.created_at,
        "completed_at": stored.completed_at,
        "status": stored.status,
        "model": stored.model,
        "previous_response_id": stored.previous_response_id,
    }
    try:
        response = msgspec.convert(values, Response)
    except msgspec.ValidationError as error:  # By hand.
        logger.warning("what %s was asked is left out: %s", stored.id, error)
        response = response_of(msgspec.structs.replace(stored, asked={}))
    response.error = stored.error
    response.incomplete_details = stored.incomplete_details
    response.usage = stored.usage
    return response


def stored_input(own: Iterable[Placed], lines: Iterable[str]) -> Items:
    """A message as the id of its line, other items as they came."""
    left = iter(lines)
    return [
        {"type": "message", "message": next(left)}
        if item.type == "message"
        else {"id": _new_id(item), **msgspec.to_builtins(item), "type": item.type}
        for item, _ in own
    ]


def stored_output(item: OutputCall | OutputMessage | OutputReasoning) -> dict[str, Any]:
    """As `stored_input`; with its status, which a line does not have."""
    if not isinstance(item, OutputMessage):
        value: dict[str, Any] = msgspec.to_builtins(item)
        return value
    return {"type": "message", "message": line_of(item), "status": item.status}


def line_of(item: OutputMessage) -> str:
    """The id of the message's line in the thread."""
    return item.id.rpartition("_")[2]


def is_called(id: str, stored: Mapping[str, Any]) -> bool:
    """Whether it is the item of that id: of a message only which thread it is in may differ."""
    if stored.get("type") != "message":
        return stored.get("id") == id
    return id.startswith(MESSAGE) and id.endswith(f"_{stored.get('message')}")


def item_of(stored: Mapping[str, Any], messages: Mapping[str, Message]) -> InputItem | None:
    """An item as the next request has it; None for a message that is not there any more."""
    if stored.get("type") != "message":
        return _converted(stored)
    message = messages.get(stored.get("message", ""))
    if message is None or message.value.get("role") not in ("user", "assistant", "system"):
        return None
    text = formats.message_text(message.value)
    return InputItem(role=message.value["role"], content=text)


def input_of(
    stored: Mapping[str, Any], messages: Mapping[str, Message], thread_id: str
) -> dict[str, Any] | None:
    """An input item as it is listed."""
    if stored.get("type") != "message":
        return {"status": "completed", **stored}
    item = item_of(stored, messages)
    if item is None or item.role is UNSET:
        return None
    kind = "output_text" if item.role == "assistant" else "input_text"
    return {
        "id": _message_id(thread_id, stored["message"]),
        "type": "message",
        "status": "completed",
        "role": item.role,
        "content": [{"type": kind, "text": item.content}],
    }


def output_of(
    stored: Mapping[str, Any], messages: Mapping[str, Message], thread_id: str
) -> OutputCall | OutputMessage | OutputReasoning | None:
    """An output item as it is now; None for a message that is not there any more."""
    if stored.get("type") != "message":
        try:
            return msgspec.convert(stored, OutputCall | OutputReasoning)
        except msgspec.ValidationError as error:  # By hand.
            logger.warning("an item of a response is left out: %s", error)
            return None
    message = messages.get(stored.get("message", ""))
    if message is None:
        return None
    text = OutputText(text=formats.message_text(message.value))
    status = stored.get("status", "completed")
    id = _message_id(thread_id, message.id)
    return OutputMessage(id=id, status=status, content=[text])


def _message_id(thread_id: str, line: str) -> str:
    return f"{MESSAGE}{thread_id}_{line}"


def _new_id(item: InputItem) -> str:
    return f"{_PREFIXES.get(item.type, 'item_')}{ULID()}"


def _converted(stored: Mapping[str, Any]) -> InputItem | None:
    try:
        return msgspec.convert(stored, InputItem)
    except msgspec.ValidationError as error:  # By hand.
        logger.warning("an item of a response is left out: %s", error)
        return None
