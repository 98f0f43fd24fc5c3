"""Messages: lines of `threads/<id>/messages.jsonl`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from jan_server.ids import NewId
from jan_server.types.page import PageQuery

Role = Literal["user", "assistant", "system"]


class TextValue(Struct, kw_only=True):
    """The text of a stored part, as Jan and the Assistants API write it."""

    value: str
    annotations: list[Any] = []


class MessagePart(Struct, kw_only=True):
    """One part of a stored message. Other types than `text` carry their own keys."""

    type: Annotated[str, Meta(examples=["text"])]
    text: TextValue | UnsetType = UNSET


class SentPart(Struct, kw_only=True):
    """One part of a sent message: OpenAI's `{"type": "text", "text": "..."}` or a stored part."""

    type: Annotated[str, Meta(examples=["text"])]
    text: str | TextValue | UnsetType = UNSET


class CreateMessage(Struct, kw_only=True):
    """A new message of a thread.

    `content` is a string or a list of parts. A valid `id` that is free in the thread is kept, which
    makes a retry safe; without one the message gets a ULID.
    """

    role: Role
    content: str | Annotated[list[SentPart], Meta(min_length=1)]
    id: NewId | UnsetType | None = UNSET
    status: str | UnsetType | None = UNSET
    type: str | UnsetType = UNSET
    assistant_id: str | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    attachments: list[Any] | UnsetType | None = UNSET
    file_ids: list[str] | UnsetType | None = UNSET
    run_id: str | UnsetType | None = UNSET
    error_code: str | UnsetType | None = UNSET


class ModifyMessage(Struct, kw_only=True):
    """What changes of a message. Keys that are sent replace those of its line, null too.

    `id`, `object`, `thread_id` and the times are the server's: what is sent of them is passed over.
    """

    role: Role | UnsetType = UNSET
    content: str | Annotated[list[SentPart], Meta(min_length=1)] | UnsetType = UNSET
    status: str | UnsetType | None = UNSET
    assistant_id: str | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    attachments: list[Any] | UnsetType | None = UNSET


class MessageQuery(PageQuery, kw_only=True, frozen=True):
    """Part of the messages of a thread, those of one run where `run_id` says so."""

    run_id: Annotated[str, Meta(description="Only those that this run has made.")] | UnsetType = (
        UNSET
    )


class DeletedMessage(Struct, kw_only=True):
    id: str
    object: Literal["thread.message.deleted"] = "thread.message.deleted"
    deleted: Literal[True] = True


class Message(Struct, kw_only=True):
    """A message as it is answered: the keys of its line, with these put right or filled in.

    Times under `created_at` are whole seconds since 1970; `created`, where a file has it, is what
    the file says (Jan 0.4: milliseconds).
    """

    id: Annotated[str, Meta(examples=["01HM5ZK3Q2V8W7T6R5N4M3K2J1"])]
    object: Literal["thread.message"]
    created_at: int
    thread_id: str
    role: str
    content: list[MessagePart]
    status: str | UnsetType | None = UNSET
    assistant_id: str | None = None
    run_id: str | None = None
    file_ids: list[str] | None = []
    metadata: dict[str, Any] | None = {}


class MessageList(Struct, kw_only=True):
    """Messages in the order of the file unless the query or the client's kind asks for another."""

    object: Literal["list"]
    data: list[Message]
    first_id: str | None
    last_id: str | None
    has_more: bool


def wrong_part(content: list[SentPart]) -> str | None:
    """The JSON path below `content` of the first part that is not text; None when all are."""
    for index, part in enumerate(content):
        if part.type != "text" or part.text is UNSET:
            return f"[{index}]"
    return None


def part_text(part: SentPart) -> str:
    """The text of a text part, whichever way it was sent."""
    return part.text.value if isinstance(part.text, TextValue) else part.text or ""
