"""What the running server streams, and what is asked of it meanwhile, without blocking the loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, TypeVar

import httpx2
import msgspec

from jan_server.cli.client import ServerFailed, decoded, headers, refusal, said, translated
from jan_server.errors import JanError
from jan_server.presence import Presence
from jan_server.settings import Settings

T = TypeVar("T")

LOADING = 600.0
"""Seconds that a server may say nothing: before an answer begins, its model may be loaded."""


class Streams:
    """The API at one address; `close` it. All raise as Client.ask."""

    def __init__(self, found: Presence, settings: Settings) -> None:
        self.where = f"the server at {found.url}"
        self._found = found
        self._settings = settings
        self._http = httpx2.AsyncClient(
            base_url=found.url, headers=headers(settings), timeout=LOADING, trust_env=False
        )

    def __repr__(self) -> str:
        return f"<Streams of {self._found.url}>"

    async def events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """The data of the answer's events; all of them, or it raises."""
        content = msgspec.json.encode({**body, "stream": True})
        with translated(self._found):
            async with self._http.stream("POST", path, content=content) as response:
                if response.status_code != 200:
                    raise self._refusal(response.status_code, await response.aread())
                async for event in httpx2.EventSource(response):
                    if event.data == "[DONE]":
                        return
                    yield self._data(event.data.encode())
        raise ServerFailed(f"{said(self._found)} broke off its answer.")

    async def ask(self, method: str, path: str, *, type: type[T]) -> T:
        with translated(self._found):
            response = await self._http.request(method, path)
        if response.status_code >= 400:
            raise self._refusal(response.status_code, response.content)
        return decoded(response.content, type, self._found)

    async def close(self) -> None:
        await self._http.aclose()

    def _data(self, body: bytes) -> dict[str, Any]:
        data = decoded(body, dict[str, Any], self._found)
        if "error" in data:
            raise self._refusal(200, body)
        return data

    def _refusal(self, status: int, body: bytes) -> JanError:
        return refusal(status, body, self._found, self._settings)
