"""Who is in memory and whose turn it is. The processes are real ones of the echo engine."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from jan_server.engines import pool as pool_module
from jan_server.engines.base import Event, GenerationRequest, ModelSpec, Piece
from jan_server.engines.pool import Pool, Turn
from jan_server.engines.process import EngineProcess
from jan_server.engines.schedule import Admit, Load, Room, Wanted, decide
from jan_server.errors import EngineDied, ModelCannotRun, ModelLoading, ShuttingDown

ECHO = ModelSpec(id="e", engine="echo")
OTHER = ModelSpec(id="o", engine="echo")
UNKNOWN = ModelSpec(id="e", engine="no such engine")
LARGER = msgspec.structs.replace(ECHO, ctx_len=4096)
NOW = Wanted(ECHO)
CHANGED = Wanted(LARGER)
REWRITTEN = Wanted(ECHO, (123, 456))


@pytest.mark.parametrize(
    ("room", "action"),
    [
        (Room(id="e", status="absent"), None),
        (Room(id="e", status="idle", holds=NOW), None),
        (Room(id="e", status="dead", holds=NOW), None),
        (Room(id="e", status="absent", waiting=(NOW, CHANGED)), Load("e", NOW)),
        (Room(id="e", status="starting", holds=NOW, waiting=(NOW,)), None),
        (Room(id="e", status="idle", holds=NOW, waiting=(NOW, NOW)), Admit("e")),
        (Room(id="e", status="idle", holds=NOW, waiting=(CHANGED, NOW)), Load("e", CHANGED)),
        (Room(id="e", status="idle", holds=NOW, waiting=(REWRITTEN,)), Load("e", REWRITTEN)),
        (Room(id="e", status="busy", holds=NOW, waiting=(NOW,)), None),
        (Room(id="e", status="busy", holds=NOW, waiting=(CHANGED,)), None),
        (Room(id="e", status="dead", holds=NOW, waiting=(NOW,)), Load("e", NOW)),
        (Room(id="e", status="stopping", waiting=(NOW,)), None),
    ],
)
def test_what_is_to_be_done_for_a_model(room: Room, action: Admit | Load | None) -> None:
    assert decide([room]) == ([action] if action else [])


def test_models_do_not_wait_for_each_other() -> None:
    rooms = [
        Room(id="busy", status="busy", holds=NOW, waiting=(NOW,)),
        Room(id="idle", status="idle", holds=NOW, waiting=(NOW,)),
        Room(id="new", status="absent", waiting=(NOW,)),
    ]
    assert decide(rooms) == [Admit("idle"), Load("new", NOW)]


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
async def pool_of(start: Starter, *, load_patience: float = 60) -> AsyncIterator[Pool]:
    pool = Pool(start, load_patience=load_patience)
    try:
        yield pool
    finally:
        await pool.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within_time() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(within_time())


async def said(turn: Turn, prompt: str) -> str:
    events: list[Event] = [e async for e in turn.generate(GenerationRequest(prompt=prompt))]
    return "".join(event.text for event in events if isinstance(event, Piece))


async def ask(pool: Pool, prompt: str = "hello", spec: ModelSpec = ECHO) -> str:
    async with pool.model(spec) as turn:
        return await said(turn, prompt)


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
            assert (repr(pool), pool.running()) == ("<Pool e idle +0>", {"e": "running"})
            async with pool.model(ECHO) as turn:
                assert turn.info.context_length == 2048
                assert (repr(pool), pool.running()) == ("<Pool e busy +0>", {"e": "running"})
        assert (repr(pool), pool.running()) == ("<Pool closed>", {})
        assert not start.made[0].alive

    run(test)


def test_without_being_told_otherwise_it_starts_real_processes() -> None:
    async def test() -> None:
        pool = Pool()
        assert await ask(pool) == "hello"
        await pool.close()

    run(test)


def test_requests_for_one_model_have_their_turns_in_order() -> None:
    async def test() -> None:
        async with pool_of(Starter()) as pool:
            order: list[str] = []

            async def request(name: str) -> None:
                async with pool.model(ECHO) as turn:
                    order.append(f"{name} begins")
                    await said(turn, "[[slow 0.005]] a b")
                    order.append(f"{name} ends")

            await asyncio.gather(*(request(name) for name in "abc"))
            assert order == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]

    run(test)


def test_a_model_that_loads_or_works_keeps_no_other_waiting() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_of(start) as pool:
            assert await ask(pool) == "hello"
            start.shut_the_gate()
            loading = asyncio.create_task(ask(pool, spec=OTHER))
            await start.asked.wait()
            async with pool.model(ECHO) as turn:
                assert pool.running() == {"e": "running", "o": "starting"}
                assert await said(turn, "not kept waiting") == "not kept waiting"
                start.gate.set()
                assert await loading == "hello"

    run(test)


def test_a_process_killed_mid_answer_costs_that_answer_and_the_next_request_works() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_of(start) as pool:
            async with pool.model(ECHO) as turn:
                events = turn.generate(GenerationRequest(prompt="[[slow 0.01]] " * 99))
                await anext(events)
                waiting = asyncio.create_task(ask(pool, "I waited"))
                os.kill(start.made[0].pid, signal.SIGKILL)
                with pytest.raises(EngineDied, match="was killed by SIGKILL"):
                    [event async for event in events]
            assert await waiting == "I waited"
            assert await ask(pool) == "hello"
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
            assert (repr(pool), pool.running()) == ("<Pool e dead +0>", {})
            assert await ask(pool) == "hello"

    run(test)


def test_a_changed_spec_is_loaded_when_the_model_is_idle() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_of(start) as pool:
            async with pool.model(ECHO):
                changed = asyncio.create_task(ask(pool, "larger", LARGER))
                await asyncio.sleep(0)
                assert pool.running() == {"e": "running"}
            assert await changed == "larger"
            assert [(p.spec, p.alive) for p in start.made] == [(ECHO, False), (LARGER, True)]

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


def test_patience_counts_for_loading_only_not_for_the_queue() -> None:
    async def test() -> None:
        async with pool_of(Starter(), load_patience=5) as pool:
            await ask(pool)
            pool._load_patience = 0
            tasks = [asyncio.create_task(ask(pool, "[[slow 0.01]] a")) for _ in range(3)]
            assert await asyncio.gather(*tasks) == ["[[slow 0.01]] a"] * 3

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
    monkeypatch.setattr(pool_module, "FAILURE_KEPT", -1.0)

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
                tasks = [asyncio.create_task(ask(pool, name)) for name in ("left", "kept")]
                await asyncio.sleep(0)
                tasks[0].cancel()
                await asyncio.sleep(0)
                assert repr(pool) == "<Pool e busy +1>"
            assert await tasks[1] == "kept"

    run(test)


def test_a_waiter_cancelled_in_the_moment_of_its_turn_gives_it_on() -> None:
    async def test() -> None:
        async with pool_of(Starter()) as pool:
            async with pool.model(ECHO):
                tasks = [asyncio.create_task(ask(pool, name)) for name in ("left", "kept")]
                await asyncio.sleep(0)
                tasks[0].cancel()
            assert await tasks[1] == "kept"
            assert await ask(pool) == "hello"

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
            assert repr(pool) == "<Pool e starting +0>"
            start.gate.set()
            assert await ask(pool) == "hello"
            assert len(start.made) == 1

    run(test)


def test_a_turn_that_ends_closes_what_it_generated() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_of(start) as pool:
            async with pool.model(ECHO) as turn:
                events = turn.generate(GenerationRequest(prompt="[[slow 0.01]] " * 500))
                await anext(events)
            with pytest.raises(StopAsyncIteration):
                await anext(events)
            assert await ask(pool) == "hello"
            assert len(start.made) == 1

    run(test)


def test_unloading_ends_the_answer_and_the_queue_and_the_next_request_loads_again() -> None:
    async def test() -> None:
        start = Starter()
        async with pool_of(start) as pool:
            await pool.unload("nobody knows it")
            async with pool.model(ECHO) as turn:
                async with aclosing(
                    turn.generate(GenerationRequest(prompt="[[slow 0.01]] " * 500))
                ) as events:
                    await anext(events)
                    waiting = asyncio.create_task(ask(pool))
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
        async with pool.model(ECHO) as turn:
            events = turn.generate(GenerationRequest(prompt="[[slow 0.01]] " * 500))
            await anext(events)
            start.shut_the_gate()
            waiting = [asyncio.create_task(ask(pool, spec=spec)) for spec in (ECHO, OTHER)]
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
            async with pool.model(ECHO) as turn:
                holding.set()
                return await said(turn, "[[slow 0.01]] a b")

        running = asyncio.create_task(first())
        await holding.wait()
        waiting = asyncio.create_task(ask(pool))
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
        async with pool.model(ECHO) as turn:
            events = turn.generate(GenerationRequest(prompt="[[slow 60]] a"))
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
