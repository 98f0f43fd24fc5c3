"""Events: what `GET /events` tells, and what it may be asked for."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from jan_server.events import Cause, Change, Kind
from jan_server.types.assistant import Assistant
from jan_server.types.download import Download
from jan_server.types.message import Message
from jan_server.types.model import Model
from jan_server.types.thread import Thread


class EventsQuery(Struct, kw_only=True, frozen=True):
    """Which events, and from where on."""

    kinds: (
        Annotated[str, Meta(description="Only these, for instance `thread,message`.")] | UnsetType
    ) = UNSET
    thread_id: (
        Annotated[str, Meta(description="Only this thread and its messages.")] | UnsetType
    ) = UNSET
    last_event_id: (
        Annotated[str, Meta(description="Instead of the header `Last-Event-ID`.")] | UnsetType
    ) = UNSET


class ServerEvent(Struct, kw_only=True):
    """One change of one resource, whoever made it.

    `type` is `thread.message.<change>` for messages, else `<kind>.<change>`, and is the name of the
    server-sent event too. `cause` is `api` for what this server did, `file` for everybody else.
    `etag` is null when the resource is gone or broken; `problem` then says where it is broken. Of
    what was created or updated the resource is there as GET shows it, under its kind's name. That a
    message is gone from its file is told a tenth of a second later: many programs write a file by
    emptying it first.

    The type `resync` says why events may be missing: read again what you need. It has a `reason`,
    and none of the others.
    """

    type: Annotated[str, Meta(examples=["thread.message.created"])]
    kind: Kind | UnsetType = UNSET
    id: str | UnsetType = UNSET
    thread_id: Annotated[str, Meta(description="Of messages.")] | UnsetType = UNSET
    change: Change | UnsetType = UNSET
    cause: Cause | UnsetType = UNSET
    etag: str | UnsetType | None = UNSET
    problem: str | UnsetType = UNSET
    thread: Thread | UnsetType = UNSET
    message: Message | UnsetType = UNSET
    assistant: Assistant | UnsetType = UNSET
    model: Model | UnsetType = UNSET
    download: Download | UnsetType = UNSET
    reason: str | UnsetType = UNSET
