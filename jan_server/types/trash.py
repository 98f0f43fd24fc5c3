"""The trash: `.jan_server/trash/<time>/...`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Kind = Literal["thread", "message", "assistant", "model"]


class TrashDeletion(Struct, kw_only=True):
    """One deletion. Times are in whole seconds since 1970.

    `path` is where it was, and goes back to, in the data folder. `expires_at` is when the first
    part of it is removed for good, a model's weights before the rest; null is never.
    """

    id: Annotated[str, Meta(examples=["20260101T120000.123456Z"])]
    object: Literal["trash.deletion"] = "trash.deletion"
    kind: Kind
    resource_id: str
    thread_id: str | UnsetType = UNSET
    path: str
    deleted_at: int
    expires_at: int | None
    bytes: int
    files: int


class Trash(Struct, kw_only=True):
    """All deletions, newest first. `bytes` is the space they take."""

    object: Literal["list"]
    data: list[TrashDeletion]
    first_id: str | None
    last_id: str | None
    has_more: bool
    bytes: int


class Restored(Struct, kw_only=True):
    """What is back. `url` reaches it, by `resource_id`, the id that it has now."""

    id: str
    object: Literal["trash.deletion.restored"] = "trash.deletion.restored"
    kind: Kind
    resource_id: str
    thread_id: str | UnsetType = UNSET
    url: str
    restored: bool = True


class FreedDeletion(Struct, kw_only=True):
    """It is gone for good, and its space is free."""

    id: str
    object: Literal["trash.deletion.deleted"] = "trash.deletion.deleted"
    deleted: bool = True
