"""Who is in memory and whose turn it is. The processes are real ones of the echo engine."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jan_server.engines import pool as pool_module
from jan_server.engines.base import (
    Event,
    GenerationRequest,
    ModelSpec,
    Piece,
    Queued,
    Started,
)
from jan_server.engines.lease import Lease
from jan_server.engines.pool import Pool
from jan_server.engines.pooled import Seen
from jan_server.engines.process import EngineProcess
from jan_server.errors import EngineDied, ModelCannotRun, ModelLoading, QueueFull, ShuttingDown
from tests.engines.processes import ECHO, SLOW, TWO_SLOTS, run, until

OTHER = ModelSpec(id="o", engine="echo")
UNKNOWN = ModelSpec(id="e", engine="no such engine")
LARGER = msgspec.structs.replace(ECHO, ctx_len=4096)


class Starter:
    """Starts real processes, remembers them, and holds them back while its gate is shut."""

    def __init__(self) -> None:
        self.made: list[EngineProcess] = []
        self.asked = asyncio.Event()
        self.started = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, spec: ModelSpec) -> EngineProcess:
        self.asked.set()
        await self.gate.wait()
        process = await EngineProcess.start(spec)
        self.made.append(process)
        self.started.set()
        return process

    def shut_the_gate(self) -> None:
        self.asked.clear()
        self.gate.clear()


@asynccontextmanager
async def pool_of(start: Starter, **settings: Any) -> AsyncIterator[Pool]:
    pool = Pool(start, **settings)
    try:
        yield pool
    finally:
        start.gate.set()  # A load that a failed test left would be waited for without end.
        await pool.close()


async def said(lease: Lease, prompt: str) -> str:
    events: list[Event] = [e async for e in lease.answer(GenerationRequest(prompt=prompt))]
    return "".join(event.text for event in events if isinstance(event, Piece))


async def ask(pool: Pool, prompt: str = "hello", spec: ModelSpec = ECHO) -> str:
    async with pool.model(spec) as lease:
        return await said(lease, prompt)


async def load_ended(pool: Pool) -> None:
    loading = pool._models["e"].loading
    assert loading
    await asyncio.wait({loading})


def test_a_model_is_loaded_at_the_first_request_and_kept() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_of(start) as pool:
            assert (repr(pool), pool.running()) == ("<Pool empty>", {})
            assert [await ask(pool, prompt) for prompt in ("a", "b")] == ["a", "b"]
            assert len(start.made) == 1
            assert (repr(pool), pool.running()) == ("<Pool e loaded 0+0>", {"e": "running"})
            async with pool.model(ECHO) as lease:
                assert lease.info.context_length == 2048
                assert (repr(pool), pool.running()) == ("<Pool e loaded 1+0>", {"e": "running"})
        assert (repr(pool), pool.running()) == ("<Pool closed>", {})
        assert not start.made[0].alive

    run(test)


def test_without_being_told_otherwise_it_starts_real_processes() -> None:
    async def test() -> None:
        pool = Pool()
        assert await ask(pool) == "hello"
        await pool.close()

    run(test)


def test_many_have_a_model_at_once_and_its_process_gives_them_slots() -> None:
    async def test() -> None:
        async with pool_of(Starter()) as pool:
            async with pool.model(TWO_SLOTS) as one, pool.model(TWO_SLOTS) as other:
                assert one.info.slots == 2
                streams = [lease.answer(SLOW) for lease in (one, other, one)]
                for stream, reached in zip(streams, (Started, Started, Queued), strict=True):
                    assert await until(reached, stream)
                assert repr(pool) == "<Pool e loaded 2+0>"
            assert await ask(pool, spec=TWO_SLOTS) == "hello"

    run(test)


def test_a_lease_turns_text_into_tokens_and_back() -> None:
    async def test() -> None:
        async with pool_of(Starter()) as pool, pool.model(ECHO) as lease:
            tokens = await lease.tokenize("a b", bos=False)
            assert (len(tokens), await lease.detokenize(tokens)) == (2, "a b")

    run(test)


def test_who_asks_is_passed_on_for_fairness() -> None:
    async def test() -> None:
        async with pool_of(Starter()) as pool, pool.model(ECHO) as lease:
            running = lease.answer(SLOW, client="greedy")
            await until(Started, running)
            waiting = [lease.answer(SLOW, client=name) for name in ("greedy", "modest")]
            assert [await until(Queued, stream) for stream in waiting] == [Queued(0), Queued(0)]

    run(test)


def test_a_model_that_loads_or_works_keeps_no_other_waiting() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_of(start) as pool:
            assert await ask(pool) == "hello"
            start.shut_the_gate()
            loading = asyncio.create_task(ask(pool, spec=OTHER))
            await start.asked.wait()
            async with pool.model(ECHO) as lease:
                assert pool.running() == {"e": "running", "o": "starting"}
                assert await said(lease, "not kept waiting") == "not kept waiting"
                start.gate.set()
                assert await loading == "hello"

    run(test)


def test_a_killed_process_costs_the_answers_in_it_and_the_next_request_works() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_of(start) as pool:
            async with pool.model(ECHO) as lease, pool.model(ECHO) as other:
                running, queued = lease.answer(SLOW), other.answer(SLOW)
                await until(Started, running)
                await until(Queued, queued)
                os.kill(start.made[0].pid, signal.SIGKILL)
                for stream in (running, queued):
                    with pytest.raises(EngineDied, match="was killed by SIGKILL"):
                        [event async for event in stream]
                waiting = asyncio.create_task(ask(pool, "I came later"))
                await asyncio.sleep(0)
                assert repr(pool) == "<Pool e dead 2+1>"
            assert await waiting == "I came later"
            assert [process.alive for process in start.made] == [False, True]

    run(test)


def test_a_process_that_died_while_idle_is_replaced_at_the_next_request() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_of(start) as pool:
            await ask(pool)
            os.kill(start.made[0].pid, signal.SIGKILL)
            with pytest.raises(EngineDied):
                await start.made[0].load()
            assert (repr(pool), pool.running()) == ("<Pool e dead 0+0>", {})
            assert await ask(pool) == "hello"

    run(test)


def test_a_changed_spec_is_loaded_when_nobody_uses_the_model_and_later_ones_wait_behind() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_of(start) as pool:
            async with pool.model(ECHO) as lease:
                changed = asyncio.create_task(ask(pool, "larger", LARGER))
                later = asyncio.create_task(ask(pool, "as before"))
                await asyncio.sleep(0)
                assert repr(pool) == "<Pool e loaded 1+2>"
                assert await said(lease, "not disturbed") == "not disturbed"
            assert (await changed, await later) == ("larger", "as before")
            assert [(p.spec, p.alive) for p in start.made] == [
                (ECHO, False),
                (LARGER, False),
                (ECHO, True),
            ]

    run(test)


def test_a_changed_weights_file_is_loaded_again(tmp_path: Path) -> None:
    async def test() -> None:
        start = Starter()
        weights = tmp_path / "m.gguf"
        spec = ModelSpec(id="e", engine="echo", path=str(weights))
        async with pool_of(start) as pool:
            for content in (None, None, b"one", b"one", b"three"):
                if content and (not weights.exists() or weights.read_bytes() != content):
                    weights.write_bytes(content)
                await ask(pool, spec=spec)
            assert len(start.made) == 3

    run(test)


def test_a_request_that_waits_too_long_for_loading_is_told_so_and_the_load_goes_on() -> None:
    async def test() -> None:
        start = Starter()
        start.shut_the_gate()
        async with pool_of(start, load_patience=0.01) as pool:
            for _ in range(2):  # the one who begins the load, and one who comes meanwhile
                with pytest.raises(ModelLoading) as caught:
                    await ask(pool)
                assert caught.value.retry_after == 10
            assert pool.running() == {"e": "starting"}
            pool._load_patience = 30  # else the patient one below would have to be quick
            patient = asyncio.create_task(ask(pool))
            start.gate.set()
            assert await patient == "hello"
            assert len(start.made) == 1

    run(test)


def test_patience_counts_for_loading_not_for_answers() -> None:
    async def test() -> None:
        async with pool_of(Starter()) as pool:
            await ask(pool)
            pool._load_patience = 0
            tasks = [asyncio.create_task(ask(pool, "[[slow 0.01]] a")) for _ in range(3)]
            assert await asyncio.gather(*tasks) == ["[[slow 0.01]] a"] * 3

    run(test)


def test_whoever_waits_too_long_for_the_answers_of_others_is_told_so() -> None:
    async def test() -> None:
        async with pool_of(Starter()) as pool, pool.model(ECHO):
            pool._load_patience = 0.01
            with pytest.raises(ModelLoading, match="when answers end that others wait for"):
                await ask(pool, spec=LARGER)
            assert repr(pool) == "<Pool e loaded 1+0>"

    run(test)


def test_a_failing_load_is_told_to_all_who_wait_and_tried_afresh_by_the_next() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_of(start) as pool:
            for round in (1, 2):
                asked = [ask(pool, spec=UNKNOWN), ask(pool, spec=UNKNOWN), ask(pool, "mended")]
                *failed, answered = await asyncio.gather(*asked, return_exceptions=True)
                assert [type(error) for error in failed] == [ModelCannotRun, ModelCannotRun]
                assert answered == "mended"
                assert len(start.made) == 2 * round
            assert [process.alive for process in start.made] == [False, False, False, True]

    run(test)


@asynccontextmanager
async def pool_with_a_failure_that_nobody_waited_for(start: Starter) -> AsyncIterator[Pool]:
    """Somebody was told to come again, and then the load failed."""
    start.shut_the_gate()
    async with pool_of(start, load_patience=0.01) as pool:
        with pytest.raises(ModelLoading):
            await ask(pool, spec=UNKNOWN)
        start.gate.set()
        await load_ended(pool)
        pool._load_patience = 30
        yield pool


def test_a_failure_that_nobody_waited_for_is_told_once_to_who_comes_again() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_with_a_failure_that_nobody_waited_for(start) as pool:
            for made in (1, 2):
                with pytest.raises(ModelCannotRun):
                    await ask(pool, spec=UNKNOWN)
                assert len(start.made) == made
            assert repr(pool) == "<Pool empty>"

    run(test)


def test_a_failure_of_long_ago_is_not_told_but_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "PROMISE_KEPT", -1.0)

    async def test() -> None:
        start = Starter()
        async with pool_with_a_failure_that_nobody_waited_for(start) as pool:
            with pytest.raises(ModelCannotRun):
                await ask(pool, spec=UNKNOWN)
            assert len(start.made) == 2

    run(test)


def test_a_kept_failure_does_not_hinder_a_mended_model() -> None:
    async def test() -> None:
        async with pool_with_a_failure_that_nobody_waited_for(Starter()) as pool:
            assert await ask(pool) == "hello"

    run(test)


def test_a_cancelled_waiter_leaves_the_queue_without_harm() -> None:
    async def test() -> None:
        async with pool_of(Starter()) as pool:
            async with pool.model(ECHO):
                tasks = [asyncio.create_task(ask(pool, name, LARGER)) for name in ("left", "kept")]
                await asyncio.sleep(0)
                tasks[0].cancel()
                await asyncio.sleep(0)
                assert repr(pool) == "<Pool e loaded 1+1>"
            assert await tasks[1] == "kept"

    run(test)


def test_a_waiter_cancelled_in_the_moment_of_its_lease_gives_it_back() -> None:
    async def test() -> None:
        async with pool_of(Starter()) as pool:
            await ask(pool)
            task = asyncio.create_task(ask(pool))
            await asyncio.sleep(0)
            assert repr(pool) == "<Pool e loaded 1+0>"
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert repr(pool) == "<Pool e loaded 0+0>"

    run(test)


def test_the_last_waiter_may_leave_while_it_loads_and_the_model_is_kept() -> None:
    async def test() -> None:
        start = Starter()
        start.shut_the_gate()
        async with pool_of(start) as pool:
            task = asyncio.create_task(ask(pool))
            await start.asked.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert repr(pool) == "<Pool e starting 0+0>"
            start.gate.set()
            assert await ask(pool) == "hello"
            assert len(start.made) == 1

    run(test)


def test_a_lease_that_ends_closes_its_answers() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_of(start) as pool:
            async with pool.model(ECHO) as lease:
                streams = [lease.answer(SLOW) for _ in range(2)]
                for stream in streams:
                    await anext(stream)
            for stream in streams:
                with pytest.raises(StopAsyncIteration):
                    await anext(stream)
            assert await ask(pool) == "hello"
            assert len(start.made) == 1

    run(test)


def test_unloading_ends_the_answer_and_the_queue_and_the_next_request_loads_again() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_of(start) as pool:
            await pool.unload("nobody knows it")
            async with pool.model(ECHO) as lease:
                async with aclosing(lease.answer(SLOW)) as events:
                    await anext(events)
                    waiting = asyncio.create_task(ask(pool, spec=LARGER))
                    await asyncio.sleep(0)
                    unloading = [asyncio.create_task(pool.unload("e")) for _ in range(2)]
                    await asyncio.sleep(0)
                    assert pool.running() == {"e": "stopping"}
                    again = asyncio.create_task(ask(pool, "again"))
                    with pytest.raises(EngineDied, match="The model 'e' was unloaded"):
                        [event async for event in events]
                    with pytest.raises(EngineDied, match="The model 'e' was unloaded"):
                        await waiting
                await asyncio.gather(*unloading)
            assert await again == "again"
            assert [process.alive for process in start.made] == [False, True]

    run(test)


@pytest.mark.parametrize("started", [False, True])
def test_unloading_a_model_that_is_being_loaded_stops_that(started: bool) -> None:
    async def test() -> None:
        start = Starter()
        start.shut_the_gate()
        async with pool_of(start) as pool:
            waiting = asyncio.create_task(ask(pool))
            await start.asked.wait()
            if started:
                start.gate.set()
                await start.started.wait()
            await pool.unload("e")
            with pytest.raises(EngineDied):
                await waiting
            assert (pool.running(), [process.alive for process in start.made]) == (
                {},
                [False] * started,
            )

    run(test)


def test_unloading_in_the_moment_of_being_loaded_leaves_no_process() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_of(start) as pool:
            waiting = asyncio.create_task(ask(pool))
            await asyncio.sleep(0)
            loading = pool._models["e"].loading
            assert loading
            while not loading.done():  # noqa: ASYNC110 - to run before what waits for its end
                await asyncio.sleep(0)
            await pool.unload("e")
            await asyncio.gather(waiting, return_exceptions=True)
            assert (pool.running(), start.made[0].alive) == ({}, False)

    run(test)


def test_closing_tells_everybody_and_ends_every_process() -> None:
    async def test() -> None:
        start = Starter()
        pool = Pool(start)
        async with pool.model(ECHO) as lease:
            events = lease.answer(SLOW)
            await anext(events)
            start.shut_the_gate()
            waiting = [asyncio.create_task(ask(pool, spec=spec)) for spec in (LARGER, OTHER)]
            await start.asked.wait()
            unloading = asyncio.create_task(pool.unload("e"))
            await asyncio.sleep(0)
            late = asyncio.create_task(ask(pool))
            await asyncio.sleep(0)
            await pool.close()
            with pytest.raises(EngineDied):
                [event async for event in events]
            told = await asyncio.gather(*waiting, late, return_exceptions=True)
            assert [type(error) for error in told] == [EngineDied, ShuttingDown, ShuttingDown]
            await unloading
        with pytest.raises(ShuttingDown):
            await ask(pool)
        assert [process.alive for process in start.made] == [False]
        await pool.close()

    run(test)


def test_draining_lets_an_answer_end_and_refuses_the_rest() -> None:
    async def test() -> None:
        start = Starter()
        pool = Pool(start)
        holding = asyncio.Event()

        async def first() -> str:
            async with pool.model(ECHO) as lease:
                holding.set()
                return await said(lease, "[[slow 0.01]] a b")

        running = asyncio.create_task(first())
        await holding.wait()
        waiting = asyncio.create_task(ask(pool, spec=LARGER))
        await asyncio.sleep(0)
        await pool.drain(20)
        assert await running == "[[slow 0.01]] a b"
        for refused in (waiting, ask(pool)):
            with pytest.raises(ShuttingDown):
                await refused
        assert not start.made[0].alive

    run(test)


def test_draining_waits_no_longer_than_it_is_told() -> None:
    async def test() -> None:
        pool = Pool(Starter())
        async with pool.model(ECHO) as lease:
            events = lease.answer(GenerationRequest(prompt="[[slow 60]] a"))
            await anext(events)
            await pool.drain(0.01)
            with pytest.raises(ShuttingDown):
                [event async for event in events]

    run(test)


def test_who_runs_may_be_asked_from_any_thread_while_requests_come_and_go() -> None:
    async def test() -> None:
        async with pool_of(Starter()) as pool:
            done = asyncio.Event()

            async def come_and_go() -> None:
                for _ in range(200):
                    async with pool.model(ECHO):
                        pass
                done.set()

            def ask() -> None:
                while not done.is_set():
                    assert set(pool.running()) <= {"e"}

            asking = asyncio.to_thread(ask)
            await asyncio.gather(asking, *(come_and_go() for _ in range(4)))

    run(test)


# --- how long, how many, how large --------------------------------------------------------------


async def gone(pool: Pool, *ids: str) -> None:
    """Until these models are in memory no more."""
    while pool.running().keys() & set(ids):  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.005)


def test_an_idle_model_is_unloaded_when_its_time_is_over_and_loaded_again() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_of(start, keep_alive=0.05) as pool:
            for _ in range(2):
                assert await ask(pool, "[[slow 0.05]] longer than it is kept")
                assert pool.running() == {"e": "running"}
                await gone(pool, "e")
                assert repr(pool) == "<Pool empty>"
            assert [process.alive for process in start.made] == [False, False]

    run(test)


@pytest.mark.parametrize(("kept", "asked"), [(900.0, 0), (900.0, 0.01), (0, None)])
def test_the_time_is_the_requests_else_the_pools(kept: float, asked: float | None) -> None:
    async def test() -> None:
        async with pool_of(Starter(), keep_alive=kept) as pool:
            async with pool.model(ECHO, keep_alive=asked):
                assert pool.running() == {"e": "running"}
            await gone(pool, "e")

    run(test)


def test_of_several_requests_the_latest_says_how_long() -> None:
    async def test() -> None:
        async with pool_of(Starter(), keep_alive=0) as pool:
            for keep_alive, expires_in in ((inf, None), (100, 100)):
                async with pool.model(ECHO), pool.model(ECHO, keep_alive=keep_alive):
                    pass
                [seen] = pool.seen()
                assert seen.expires_in == pytest.approx(expires_in, abs=5)
            async with pool.model(ECHO, keep_alive=100), pool.model(ECHO):
                pass
            await gone(pool, "e")

    run(test)


def test_a_model_that_somebody_was_told_to_come_again_for_is_kept_for_them() -> None:
    async def test() -> None:
        start = Starter()
        start.shut_the_gate()
        async with pool_of(start, load_patience=0.01, keep_alive=0) as pool:
            with pytest.raises(ModelLoading):
                await ask(pool)
            start.gate.set()
            await load_ended(pool)
            await asyncio.sleep(0)
            assert repr(pool) == "<Pool e loaded 0+0>"
            assert await ask(pool) == "hello"
            assert len(start.made) == 1

    run(test)


def test_beyond_the_slots_so_many_wait_and_the_next_is_told_to_come_later() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_of(start, max_queue=2) as pool, AsyncExitStack() as stack:
            for _ in range(4):
                await stack.enter_async_context(pool.model(TWO_SLOTS))
            with pytest.raises(QueueFull) as caught:
                await ask(pool, spec=TWO_SLOTS)
            assert (caught.value.status, caught.value.retry_after) == (429, 5)
            assert "2 requests wait for the model 'e'" in caught.value.message
            assert await ask(pool, spec=OTHER) == "hello"
            await stack.aclose()
            assert await ask(pool, spec=TWO_SLOTS) == "hello"

    run(test)


def test_those_who_wait_for_a_load_count_too() -> None:
    async def test() -> None:
        start = Starter()
        start.shut_the_gate()
        async with pool_of(start, max_queue=1) as pool:
            waiting = [asyncio.create_task(ask(pool)) for _ in range(2)]
            await start.asked.wait()
            with pytest.raises(QueueFull):
                await ask(pool)
            start.gate.set()
            assert await asyncio.gather(*waiting) == ["hello", "hello"]

    run(test)


def weighing(id: str, size: int, folder: Path) -> ModelSpec:
    path = folder / f"{id}.gguf"
    path.write_bytes(bytes(size))
    return ModelSpec(id=id, engine="echo", path=str(path))


def test_idle_models_make_room_and_those_in_use_are_waited_for(tmp_path: Path) -> None:
    async def test() -> None:
        start = Starter()
        one, two, three = (weighing(id, 40, tmp_path) for id in ("one", "two", "three"))
        async with pool_of(start, memory_budget=100) as pool:
            for spec in (one, two):
                await ask(pool, spec=spec)
            await ask(pool, spec=one)
            await ask(pool, spec=three)
            assert pool.running() == {"one": "running", "three": "running"}
            async with pool.model(one) as first, pool.model(three):
                waiting = asyncio.create_task(ask(pool, spec=two))
                await asyncio.sleep(0)
                later = asyncio.create_task(ask(pool, "later", spec=one))
                assert await said(first, "not disturbed") == "not disturbed"
                assert pool.running() == {"one": "running", "three": "running"}
            assert (await waiting, await later) == ("hello", "later")
            left = [(process.spec.id, process.spec.memory) for process in start.made]
            assert left[:3] == [("one", 100), ("two", 52), ("three", 52)]

    run(test)


def test_an_idle_model_that_goes_keeps_those_who_want_it_later_waiting(tmp_path: Path) -> None:
    async def test() -> None:
        one, two = (weighing(id, 60, tmp_path) for id in ("one", "two"))
        async with pool_of(Starter(), memory_budget=100) as pool:
            async with pool.model(one):
                waiting = asyncio.create_task(ask(pool, "second", spec=two))
                await asyncio.sleep(0)
                later = asyncio.create_task(ask(pool, "third", spec=one))
                await asyncio.sleep(0)
            assert (await waiting, await later) == ("second", "third")

    run(test)


def test_a_model_that_is_larger_than_the_budget_is_loaded_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        large, small = (weighing(id, size << 20, tmp_path) for id, size in (("l", 5), ("s", 1)))
        async with pool_of(Starter(), memory_budget=4 << 20) as pool:
            for spec in (small, large):
                assert await ask(pool, spec=spec) == "hello"
            assert pool.running() == {"l": "running"}

    run(test)
    [said] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said.startswith("model l: takes 6 MB, and all models together may take 4 MB: the others")


def test_how_models_are_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        start = Starter()
        slots = msgspec.structs.replace(weighing("b", 100, tmp_path), slots=2)
        async with pool_of(start, keep_alive=60) as pool, AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(pool.model(slots))
            await ask(pool, spec=ModelSpec(id="c", engine="echo"))
            start.shut_the_gate()
            loading = asyncio.create_task(ask(pool, spec=ModelSpec(id="a", engine="echo")))
            await start.asked.wait()
            *told, idle = pool.seen()
            assert told == [
                Seen(id="a", state="starting", engine="echo", busy=0, waiting=1),
                Seen(
                    id="b",
                    state="running",
                    engine="echo",
                    device="nothing",
                    slots=2,
                    busy=2,
                    waiting=1,
                    memory=120,
                ),
            ]
            assert idle.expires_in == pytest.approx(60, abs=10)
            start.gate.set()
            await loading

    run(test)


def test_a_stopped_model_is_said_to_be_until_it_runs_again() -> None:
    async def test() -> None:
        async with pool_of(Starter()) as pool:
            await ask(pool)
            assert not pool.was_stopped("e")
            await pool.stop("e")
            assert (pool.was_stopped("e"), pool.running()) == (True, {})
            await pool.stop("e")
            assert await ask(pool) == "hello"
            assert not pool.was_stopped("e")

    run(test)


def test_stopping_ends_answers_with_an_error_that_says_so() -> None:
    async def test() -> None:
        async with pool_of(Starter()) as pool, pool.model(ECHO) as lease:
            events = lease.answer(SLOW)
            await until(Started, events)
            await pool.stop("e")
            with pytest.raises(EngineDied, match="The model 'e' was stopped"):
                [event async for event in events]

    run(test)
