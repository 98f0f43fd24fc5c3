"""How a chat is answered: by the running server, or by a model that this process loads.

Either way the answer comes as chunks of OpenAI's stream, as JSON objects, and closing it stops the
work. All of it is asynchronous, since Ctrl-C must reach an answer that is being computed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import msgspec

from jan_server import presence
from jan_server.cli.streams import Streams
from jan_server.engines.base import Queued
from jan_server.errors import InvalidRequest, JanError, ModelLoading
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.types.chat import ChatCompletionChunk, ChatCompletionRequest

T = TypeVar("T")
Body = Mapping[str, Any]
Chunk = Mapping[str, Any]

RETRY_SECONDS = 1.0


class Answering(Protocol):
    """`where` completes "answered by"."""

    where: str

    def stream(self, body: Body) -> AsyncGenerator[Chunk]:
        """A request of /v1/chat/completions, answered. Raises JanError, also midway."""
        ...

    async def close(self) -> None:
        """What it loaded is unloaded."""
        ...


class OwnAnswering:
    """The model is loaded by this process, in a child of its own."""

    where = "this command"

    def __init__(self, services: Services) -> None:
        self._services = services

    async def stream(self, body: Body) -> AsyncGenerator[Chunk]:
        request = converted(body, ChatCompletionRequest)
        chunks = self._services.completions.chats.stream(request, body)
        async with aclosing(chunks):
            async for chunk in chunks:
                if isinstance(chunk, ChatCompletionChunk):
                    yield msgspec.to_builtins(chunk)
                elif not isinstance(chunk, Queued):
                    yield chunk

    async def close(self) -> None:
        await self._services.close()


class ServerAnswering:
    """The running server does it."""

    def __init__(self, streams: Streams) -> None:
        self.where = streams.where
        self._streams = streams

    def stream(self, body: Body) -> AsyncGenerator[Chunk]:
        return self._streams.events("/v1/chat/completions", body)

    async def close(self) -> None:
        await self._streams.close()


async def open_answering(settings: Settings) -> Answering:
    """The running server's, or our own, in a folder that is not to be changed without a change."""
    found = presence.find(settings.data_folder)
    if found is not None:
        return ServerAnswering(Streams(found, settings))
    is_writable = os.access(settings.data_folder, os.W_OK)
    read_only = settings.read_only or not is_writable
    return OwnAnswering(
        Services(msgspec.structs.replace(settings, read_only=read_only, watch="off"))
    )


def converted(body: Body, type: type[T]) -> T:
    """A request as the API would read it. Raises InvalidRequest."""
    try:
        return msgspec.convert(body, type)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{error}.") from error


async def patiently(answering: Answering, body: Body) -> AsyncGenerator[Chunk]:
    """`stream`, asked again while the model is still being loaded."""
    while True:
        chunks = answering.stream(body)
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk
                return
        except JanError as error:
            if error.code != ModelLoading.code:
                raise
        await asyncio.sleep(RETRY_SECONDS)
