"""Assistants: `assistants/<id>/assistant.json`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType


class Assistant(Struct, kw_only=True):
    """An assistant as it is answered: the keys of its file, with these put right or filled in."""

    id: Annotated[str, Meta(examples=["jan"])]
    object: Literal["assistant"]
    created_at: int
    metadata: dict[str, Any] = {}
    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    avatar: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    file_ids: list[str] | UnsetType = UNSET


class AssistantList(Struct, kw_only=True):
    """Assistants for clients that page; others get a bare array."""

    object: Literal["list"]
    data: list[Assistant]
    first_id: str | None
    last_id: str | None
    has_more: bool
