"""Real children for tests, and what they answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from jan_server.engines.base import Event, GenerationRequest, ModelSpec, Piece
from jan_server.engines.process import EngineProcess

ECHO = ModelSpec(id="e", engine="echo")
TWO_SLOTS = ModelSpec(id="e", engine="echo", slots=2)
SLOW = GenerationRequest(prompt="[[slow 0.01]] " * 500)


@asynccontextmanager
async def loaded(spec: ModelSpec = ECHO, **more: float) -> AsyncIterator[EngineProcess]:
    process = await EngineProcess.start(spec, **more)
    try:
        await process.load()
        yield process
    finally:
        await process.close()


async def events(process: EngineProcess, prompt: str) -> list[Event]:
    return [event async for event in process.answer(GenerationRequest(prompt=prompt))]


async def answer(process: EngineProcess, prompt: str = "still here") -> str:
    return "".join(e.text for e in await events(process, prompt) if isinstance(e, Piece))


async def until(kind: type[Event], stream: AsyncGenerator[Event]) -> Event:
    async for event in stream:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"no {kind.__name__} came")


async def first_piece(stream: AsyncGenerator[Event]) -> Event:
    return await until(Piece, stream)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within_time() -> None:
        async with asyncio.timeout(120):
            await test()

    asyncio.run(within_time())
