"""Models that cannot be loaded, hang or change under those who have them, and what comes after."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from jan_server.engines.base import GenerationRequest, ModelSpec, Piece, Queued, Started
from jan_server.engines.lease import Process
from jan_server.engines.pool import Pool
from jan_server.engines.process import EngineProcess
from jan_server.errors import EngineDied, ModelCannotRun
from tests.engines.processes import ECHO, SLOW, run, until
from tests.tiny_gguf import write_tiny_gguf

# A context that takes some GB of its own, where the weights take some KB.
HUGE = 2**22


@asynccontextmanager
async def pool_of(start: Callable[[ModelSpec], Awaitable[Process]]) -> AsyncIterator[Pool]:
    pool = Pool(start)
    try:
        yield pool
    finally:
        await pool.close()


async def ask(pool: Pool, spec: ModelSpec, prompt: str = "Hello world") -> str:
    request = GenerationRequest(prompt=prompt, max_tokens=4, temperature=0)
    async with pool.model(spec) as lease:
        return "".join([e.text async for e in lease.answer(request) if isinstance(e, Piece)])


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., ModelSpec]:
    """A real model; its file is what is loaded, since this kind needs no fitted copy."""
    path = tmp_path / "m.gguf"
    write(path)
    work = str(tmp_path / "work")
    return lambda ctx_len=64: ModelSpec(
        id="m", engine="ctransformers", path=str(path), work_folder=work, ctx_len=ctx_len, slots=1
    )


def write(path: Path, *, seed: int = 0) -> None:
    """As a download does it: what has the old file open keeps it."""
    new = path.with_suffix(".new")
    write_tiny_gguf(new, vocabulary="spm", tied=False, context_length=HUGE, seed=seed)
    new.replace(path)


def remove(spec: ModelSpec) -> None:
    Path(spec.path).unlink()


def bytes_in_memory(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[0]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_an_answer_that_hangs_ends_the_process_and_the_next_request_starts_another() -> None:
    async def test() -> None:
        async with pool_of(partial(EngineProcess.start, stall_patience=1)) as pool:
            async with pool.model(ECHO) as lease:
                hanging = lease.answer(GenerationRequest(prompt="a [[hang]]"))
                await until(Started, hanging)
                queued = lease.answer(SLOW)
                await until(Queued, queued)
                for stream in (hanging, queued):
                    with pytest.raises(EngineDied, match="said nothing for"):
                        [event async for event in stream]
            assert await ask(pool, ECHO, "well again") == "well again"

    run(test)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process that runs")
def test_memory_that_runs_out_costs_one_process_and_is_said(
    tiny: Callable[..., ModelSpec],
) -> None:
    async def start(spec: ModelSpec) -> EngineProcess:
        process = await EngineProcess.start(spec)
        await process.prepare()
        limit = bytes_in_memory(process.pid) + 2**30
        resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))
        return process

    async def test() -> None:
        async with pool_of(start) as pool:
            with pytest.raises(EngineDied, match="SIGABRT, as native code does that gets no mem"):
                await ask(pool, tiny(HUGE))
            assert await ask(pool, tiny())

    run(test)


def test_weights_replaced_while_they_answer_are_loaded_when_nobody_uses_the_old(
    tiny: Callable[..., ModelSpec],
) -> None:
    async def test() -> None:
        async with pool_of(EngineProcess.start) as pool:
            spec = tiny()
            before = await ask(pool, spec)
            async with pool.model(spec) as lease:
                request = GenerationRequest(prompt="Hello world", max_tokens=4, temperature=0)
                answer = lease.answer(request)
                first = await until(Piece, answer)
                write(Path(spec.path), seed=1)
                waiting = asyncio.create_task(ask(pool, spec))
                rest = [event.text async for event in answer if isinstance(event, Piece)]
                assert isinstance(first, Piece)
                assert first.text + "".join(rest) == before
                assert not waiting.done()
            assert await waiting != before

    run(test)


def test_weights_deleted_while_they_answer_are_said_to_be_gone(
    tiny: Callable[..., ModelSpec],
) -> None:
    async def test() -> None:
        async with pool_of(EngineProcess.start) as pool:
            spec = tiny()
            before = await ask(pool, spec)
            async with pool.model(spec) as lease:
                remove(spec)
                waiting = asyncio.create_task(ask(pool, spec))
                request = GenerationRequest(prompt="Hello world", max_tokens=4, temperature=0)
                answer = lease.answer(request)
                rest = [event.text async for event in answer if isinstance(event, Piece)]
                assert "".join(rest) == before
            with pytest.raises(ModelCannotRun, match=r"m\.gguf"):
                await waiting
            write(Path(spec.path))
            assert await ask(pool, spec) == before

    run(test)
