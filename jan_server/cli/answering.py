"""How a chat is answered: by the running server, or by a model that this process loads.

Either way the answer comes as chunks of OpenAI's stream, as JSON objects, and closing it stops the
work. All of it is asynchronous, since Ctrl-C must reach an answer that is being computed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Protocol

import httpx2
import msgspec

from jan_server import presence
from jan_server.cli.client import (
    ServerFailed,
    decoded,
    headers,
    refusal,
    said,
    translated,
)
from jan_server.engines.base import Queued
from jan_server.errors import InvalidRequest, JanError, ModelLoading
from jan_server.presence import Presence
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.types.chat import ChatCompletionChunk, ChatCompletionRequest

Body = Mapping[str, Any]
Chunk = Mapping[str, Any]

RETRY_SECONDS = 1.0
LOADING = 600.0
"""Seconds that a server may say nothing: before an answer begins, its model may be loaded."""


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
        try:
            request = msgspec.convert(body, ChatCompletionRequest)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"{error}.") from error
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

    def __init__(self, found: Presence, settings: Settings) -> None:
        self.where = f"the server at {found.url}"
        self._found = found
        self._settings = settings
        self._http = httpx2.AsyncClient(
            base_url=found.url, headers=headers(settings), timeout=LOADING, trust_env=False
        )

    async def stream(self, body: Body) -> AsyncGenerator[Chunk]:
        content = msgspec.json.encode({**body, "stream": True})
        with translated(self._found):
            async with self._http.stream(
                "POST", "/v1/chat/completions", content=content
            ) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise refusal(
                        response.status_code, response.content, self._found, self._settings
                    )
                async for event in httpx2.EventSource(response):
                    if event.data == "[DONE]":
                        return
                    yield self._chunk(event.data)
        raise ServerFailed(f"{said(self._found)} broke off its answer.")

    async def close(self) -> None:
        await self._http.aclose()

    def _chunk(self, data: str) -> Chunk:
        chunk = decoded(data.encode(), dict[str, Any], self._found)
        if "error" in chunk:
            raise refusal(200, data.encode(), self._found, self._settings)
        return chunk


async def open_answering(settings: Settings) -> Answering:
    """The running server's, or our own, in a folder that is not to be changed without a change."""
    found = presence.find(settings.data_folder)
    if found is not None:
        return ServerAnswering(found, settings)
    is_writable = os.access(settings.data_folder, os.W_OK)
    read_only = settings.read_only or not is_writable
    return OwnAnswering(
        Services(msgspec.structs.replace(settings, read_only=read_only, watch="off"))
    )


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
