"""Threads: `threads/<id>/thread.json`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from jan_server.ids import NewId
from jan_server.types.message import CreateMessage


class ThreadModel(Struct, kw_only=True):
    """The model of an assistant in a thread. An `id` of `*` means: the default model."""

    id: str | UnsetType = UNSET
    settings: dict[str, Any] | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET
    engine: str | UnsetType = UNSET


class ThreadAssistant(Struct, kw_only=True):
    """An assistant in a thread, with the values that override its file's."""

    assistant_id: str | UnsetType = UNSET
    assistant_name: str | UnsetType = UNSET
    instructions: str | UnsetType | None = UNSET
    model: ThreadModel | UnsetType = UNSET


class CreateThread(Struct, kw_only=True):
    """A new thread. Everything may be left out; keys that are not listed here are kept.

    An `id` names its folder, which makes a retry safe; without one the assistant does and the time.
    `assistants` names assistants or holds them; without any it is the default assistant.
    `messages` become lines of `messages.jsonl`.
    """

    id: NewId | UnsetType | None = UNSET
    title: str | UnsetType | None = UNSET
    assistants: list[str | ThreadAssistant] | UnsetType | None = UNSET
    messages: list[CreateMessage] | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    tool_resources: dict[str, Any] | UnsetType | None = UNSET


class ModifyThread(Struct, kw_only=True):
    """New values for top-level keys; others stay. `id`, `object` and times cannot be changed."""

    title: str | UnsetType | None = UNSET
    assistants: list[str | ThreadAssistant] | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    tool_resources: dict[str, Any] | UnsetType | None = UNSET


class Thread(Struct, kw_only=True):
    """A thread as it is answered: the keys of its file, with these put right or filled in.

    `created_at` is in whole seconds since 1970; `created` and `updated`, where the file has them,
    are what the file says (Jan 0.4: milliseconds).
    """

    id: Annotated[str, Meta(examples=["jan_1705312345"])]
    object: Literal["thread"]
    created_at: int
    metadata: dict[str, Any] | None = {}
    title: str | UnsetType | None = UNSET
    assistants: list[Any] | UnsetType | None = UNSET


class ThreadList(Struct, kw_only=True):
    """Threads for clients that page; others get a bare array."""

    object: Literal["list"]
    data: list[Thread]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedThread(Struct, kw_only=True):
    """The thread is in the trash."""

    id: str
    object: Literal["thread.deleted"] = "thread.deleted"
    deleted: bool = True
