"""What every route that asks a model has in common: who asks, how a stream waits, what may fail."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from jan_server.engines.base import Queued
from jan_server.errors import (
    NAMING_A_MODEL,
    ConstraintFailed,
    ContextLengthExceeded,
    EngineDied,
    EngineFailed,
    InvalidRequest,
    JanError,
    ModelCannotRun,
    ModelLoading,
    ModelNotDownloaded,
    ParameterNotSupported,
    QueueFull,
    RemoteFailed,
    RemoteRefused,
    RemoteTimeout,
    ShuttingDown,
)
from jan_server.web.sse import Comment, Events, EventStream, Framing

# Proxies close connections that are silent for a minute; a long prompt takes longer.
HEARTBEAT = 15.0

# A model that is there, but for its weights.
NAMES = ("model", "model file")

ERRORS: tuple[type[JanError], ...] = (
    InvalidRequest,
    ParameterNotSupported,
    ConstraintFailed,
    ContextLengthExceeded,
    *NAMING_A_MODEL,
    ModelNotDownloaded,
    ModelCannotRun,
    QueueFull,
    EngineFailed,
    ModelLoading,
    EngineDied,
    RemoteFailed,
    RemoteRefused,
    RemoteTimeout,
    ShuttingDown,
)


def event_stream(
    items: AsyncGenerator[Any], *, framing: Framing | None = None, ending: bytes | None = None
) -> EventStream:
    """A stream of them; while one waits for its turn, comments say how many are before it."""
    return EventStream(
        _with_comments(items), framing=framing or Events(), ending=ending, heartbeat=HEARTBEAT
    )


async def _with_comments(items: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
    async with aclosing(items):
        async for item in items:
            yield Comment(f"queued, {item.ahead} ahead") if isinstance(item, Queued) else item
