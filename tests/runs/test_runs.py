"""What runs do without HTTP: they expire, are drained, and one at a time begins in a thread."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from jan_server.errors import JanError, RunActive, ShuttingDown
from jan_server.runs import Runs
from jan_server.runs.events import RunEvent
from jan_server.types.run import CreateRun, ToolOutput
from tests.runs.conftest import Opening
from tests.store.failing import FailingSystem

SLOW = "[[slow 0.02]] " + "on and on " * 500
PATIENCE = 30


async def told(runs: Runs, **asked: object) -> list[RunEvent]:
    begun = await runs.create("t", CreateRun(assistant_id="bob", **asked))  # type: ignore[arg-type]
    async with asyncio.timeout(PATIENCE):
        return [event async for some in begun.events for event in some]


def run(case: object) -> None:
    asyncio.run(case)  # type: ignore[arg-type]


def test_a_run_expires_while_it_is_answered(opened: Opening) -> None:
    async def case() -> None:
        async with opened(SLOW, expire_after=1) as runs:
            events = await told(runs)
            assert [event.name for event in events][-1] == "thread.run.expired"
            [ended] = await runs.list("t")
            assert (ended.status, ended.expires_at) == ("expired", None)
            assert {step.status for step in ended.steps} <= {"expired"}

    run(case())


def test_what_another_server_cancels_at_once_is_not_written_over(opened: Opening) -> None:
    async def case() -> None:
        async with opened(SLOW) as runs, opened(SLOW) as other:
            begun = await runs.create("t", CreateRun())
            names: list[str] = []
            async with asyncio.timeout(PATIENCE):
                async for some in begun.events:
                    names += [event.name for event in some]
                    if "thread.run.in_progress" in (event.name for event in some):
                        await other.cancel("t", begun.run.id)
            assert names[-1] == "thread.run.cancelled"

    run(case())


def test_a_run_waits_for_a_model_that_takes_long_to_load(opened: Opening) -> None:
    async def case() -> None:
        async with opened(load_patience=0) as runs:
            assert [event.name for event in await told(runs)][-1] == "thread.run.completed"

    run(case())


def test_of_many_that_would_begin_at_once_one_does(opened: Opening) -> None:
    async def case() -> None:
        async with opened(SLOW) as one, opened(SLOW) as other:
            asked = [side.create("t", CreateRun()) for side in (one, other) for _ in range(5)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            begun = [answer for answer in answers if not isinstance(answer, Exception)]
            assert len(begun) == 1
            refused = [answer for answer in answers if isinstance(answer, Exception)]
            assert {type(error) for error in refused} == {RunActive}

    run(case())


def test_draining_lets_a_run_end_and_refuses_others(opened: Opening) -> None:
    async def case() -> None:
        async with opened("[[slow 0.02]] " + "on " * 10) as runs:
            await runs.create("t", CreateRun())
            await runs.drain(PATIENCE)
            assert [run.status for run in await runs.list("t")] == ["completed"]
            with pytest.raises(ShuttingDown):
                await runs.create("t", CreateRun())
            with pytest.raises(ShuttingDown):
                await runs.submit("t", "run_x", [])

    run(case())


def test_draining_has_an_end(opened: Opening) -> None:
    async def case() -> None:
        async with opened(SLOW) as runs:
            await runs.create("t", CreateRun())
            await runs.drain(0.1)
            [still] = await runs.list("t")
            assert still.status in ("queued", "in_progress")
            await runs.close()
            [ended] = await runs.list("t")
            assert ended.status == "failed"
            assert ended.last_error is not None
            assert "stopped" in ended.last_error.message

    run(case())


def test_a_disk_that_fails_midway_is_told_and_what_was_saved_is_kept(opened: Opening) -> None:
    async def case() -> None:
        system = FailingSystem()
        async with opened(SLOW, system=system) as runs:
            begun = await runs.create("t", CreateRun())
            names = []
            async with asyncio.timeout(PATIENCE):
                async for some in begun.events:
                    names += [event.name for event in some]
                    if "thread.message.delta" in names and not system.for_ever:
                        system.nth, system.for_ever = len(system.calls) + 1, True
                        await runs.cancel("t", begun.run.id)
            assert names[-1] == "thread.run.failed"
            system.nth, system.for_ever = 0, False
            [found] = await runs.list("t")
            assert found.status in ("failed", "cancelled")
            reply = runs._store.messages("t").list()[-1]
            assert reply.value["status"] == "incomplete"

    run(case())


def test_a_disk_that_fails_at_the_beginning_refuses_the_run(opened: Opening) -> None:
    async def case() -> None:
        system = FailingSystem(1, for_ever=True)
        async with opened(system=system) as runs:
            with pytest.raises(JanError):
                await runs.create("t", CreateRun())
            system.nth = 0
            assert await runs.list("t") == []
            async with asyncio.timeout(PATIENCE):
                begun = await runs.create("t", CreateRun())
                names = [event.name async for some in begun.events for event in some]
            assert names[-1] == "thread.run.completed"

    run(case())


def test_who_listens_late_hears_the_end(opened: Opening) -> None:
    async def case() -> None:
        async with opened() as runs:
            begun = await runs.create("t", CreateRun())
            await runs.drain(PATIENCE)
            assert repr(runs) == "<Runs 0 are answered>"
            async with asyncio.timeout(PATIENCE):
                names = [event.name async for some in begun.events for event in some]
            assert (names[0], names[-1]) == ("thread.run.created", "thread.run.completed")

    run(case())


def test_a_bound_that_is_met_before_an_answer_asks_no_model(opened: Opening) -> None:
    """Nothing is left of it when a run goes on behind a call."""

    async def case() -> None:
        async with opened('call add {"a": 1}') as runs:
            add = {"type": "function", "function": {"name": "add"}}
            asked = CreateRun(tools=[add], max_completion_tokens=50)
            async with asyncio.timeout(PATIENCE):
                _ = [some async for some in (await runs.create("t", asked)).events]
            [waiting] = await runs.list("t")
            thread = runs._store.runs("t")
            thread.put(replace(waiting, max_completion_tokens=1))
            [call] = waiting.required_action.submit_tool_outputs.tool_calls  # type: ignore[union-attr]
            going = await runs.submit("t", waiting.id, [ToolOutput(tool_call_id=call.id)])
            async with asyncio.timeout(PATIENCE):
                names = [event.name async for some in going.events for event in some]
            assert names == [
                "thread.run.step.completed",
                "thread.run.queued",
                "thread.run.incomplete",
            ]

    run(case())
