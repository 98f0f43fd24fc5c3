"""A loaded model in the hands of a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol

from jan_server.engines.base import Event, ModelInfo, Request
from jan_server.errors import JanError


class Process(Protocol):
    """What the pool needs of an EngineProcess."""

    @property
    def alive(self) -> bool: ...
    @property
    def info(self) -> ModelInfo: ...
    async def load(self) -> ModelInfo: ...
    def answer(self, request: Request, *, client: str = "") -> AsyncGenerator[Event]: ...
    async def tokenize(self, text: str, bos: bool = True) -> list[int]: ...
    async def detokenize(self, tokens: list[int]) -> str: ...
    async def close(self, because: JanError | None = None) -> None: ...


class Lease:
    """A loaded model, for as long as a request has it."""

    def __init__(self, process: Process) -> None:
        self.info = process.info
        self._process = process
        self._open: list[AsyncGenerator[Event]] = []

    def answer(self, request: Request, *, client: str = "") -> AsyncGenerator[Event]:
        """See EngineProcess.answer. It is closed at the latest when the lease ends."""
        events = self._process.answer(request, client=client)
        self._open.append(events)
        return events

    async def tokenize(self, text: str, bos: bool = True) -> list[int]:
        return await self._process.tokenize(text, bos)

    async def detokenize(self, tokens: list[int]) -> str:
        return await self._process.detokenize(tokens)

    async def close(self) -> None:
        await asyncio.gather(*(events.aclose() for events in self._open))
