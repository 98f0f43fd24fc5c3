"""Assistants: `assistants/<id>/assistant.json`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from jan_server.ids import NewId


class Tool(Struct, kw_only=True):
    """What an assistant may use; `type` names it."""

    type: str


class ModifyAssistant(Struct, kw_only=True):
    """New values for top-level keys; others stay. `object` and times cannot be changed.

    An `id` must be the assistant's own. Keys that are not listed here are kept.
    """

    id: str | UnsetType = UNSET
    name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    avatar: str | UnsetType | None = UNSET
    model: str | UnsetType = UNSET
    instructions: str | UnsetType | None = UNSET
    tools: list[Tool] | UnsetType = UNSET
    file_ids: list[str] | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET


class CreateAssistant(ModifyAssistant, kw_only=True):
    """A new assistant. Everything may be left out; keys that are not listed here are kept.

    The `id` names its folder; without one it is made of the name. A `model` of `*` means: the
    default model.
    """

    id: NewId | UnsetType = UNSET


class Assistant(Struct, kw_only=True):
    """An assistant as it is answered: the keys of its file, with these put right or filled in.

    At the id of a thread it is the one inside that thread, whose `model` is an object.
    """

    id: Annotated[str, Meta(examples=["jan"])]
    object: Literal["assistant"]
    created_at: int
    metadata: dict[str, Any] | None = {}
    name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    avatar: str | UnsetType | None = UNSET
    model: str | dict[str, Any] | UnsetType = UNSET
    instructions: str | UnsetType | None = UNSET
    file_ids: list[str] | UnsetType = UNSET
    tools: list[Any] | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET


class AssistantList(Struct, kw_only=True):
    """Assistants for clients that page; others get a bare array."""

    object: Literal["list"]
    data: list[Assistant]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedAssistant(Struct, kw_only=True):
    """The assistant is in the trash. Threads that it is in keep what they hold of it."""

    id: str
    object: Literal["assistant.deleted"] = "assistant.deleted"
    deleted: bool = True
