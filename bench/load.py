"""How long the first answer waits for a model that was fitted before: child started, loaded."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from bench.figure import Figure
from bench.subject import Subject
from jan_server.engines.base import ModelSpec
from jan_server.engines.process import EngineProcess

ROUNDS = 7


def measure(subject: Subject) -> list[Figure]:
    times = asyncio.run(_load_again_and_again(subject.spec()))
    return [
        Figure(
            name="load time of the fitted model",
            value=median(times),
            bound=0.5,
            unit=" s",
            detail=f"{min(times):.2f} to {max(times):.2f} s, {len(times)} rounds",
        )
    ]


async def _load_again_and_again(spec: ModelSpec) -> list[float]:
    await _seconds_to_load(spec)  # makes the fitted copy, and warms the disk's cache
    return [await _seconds_to_load(spec) for _ in range(ROUNDS)]


async def _seconds_to_load(spec: ModelSpec) -> float:
    begun = time.perf_counter()
    process = await EngineProcess.start(spec)
    try:
        await process.load()
        return time.perf_counter() - begun
    finally:
        await process.close()
