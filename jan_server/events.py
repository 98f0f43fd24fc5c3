"""What happened to the resources of the data folder, whoever did it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

Kind = Literal["thread", "message", "assistant", "model"]
Change = Literal["created", "updated", "deleted", "broken"]
Cause = Literal["api", "file"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one resource.

    `id` is the address that reaches it, a message's within `thread_id`. `etag` is the one that it
    has now, None when it is gone or broken; `problem` is the place and the reason when it is
    broken. `resource` is what the store has, for those who show it.
    """

    kind: Kind
    id: str
    change: Change
    cause: Cause
    etag: str | None = None
    thread_id: str | None = None
    problem: str | None = None
    resource: Any = None


Publish = Callable[[Event], None]


def unheard(_event: Event) -> None:
    """Where nobody listens."""
