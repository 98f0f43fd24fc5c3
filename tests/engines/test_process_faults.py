"""What goes wrong with an engine's process: cancelled, stuck, hung, crashed, killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from jan_server.engines import connection
from jan_server.engines import process as process_module
from jan_server.engines.base import (
    Accepted,
    Event,
    Finished,
    GenerationRequest,
    ModelSpec,
    Piece,
    Progress,
    Queued,
    Started,
)
from jan_server.engines.process import EngineProcess
from jan_server.errors import EngineDied, EngineFailed
from tests.engines.processes import (
    ECHO,
    SLOW,
    TWO_SLOTS,
    answer,
    events,
    first_piece,
    loaded,
    run,
    until,
)

Probe = Callable[..., ModelSpec]

HANGING = GenerationRequest(prompt="a [[hang]]")
# As long as a child that is at work may be held up by a busy machine.
STALL = 1
STALLED = "said nothing for 1 seconds"


def asked(prompt: str) -> GenerationRequest:
    return GenerationRequest(prompt=prompt)


async def all_died(*streams: AsyncGenerator[Event]) -> None:
    for stream in streams:
        with pytest.raises(EngineDied, match=STALLED):
            [event async for event in stream]


# --- cancelled ---------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [Accepted, Started, Progress, Piece])
def test_closing_the_iterator_cancels_and_the_next_request_works(moment: type[Event]) -> None:
    async def test() -> None:
        async with loaded() as process:
            for _ in range(3):
                stream = process.answer(SLOW)
                await until(moment, stream)
                await stream.aclose()
                assert "loaded" in repr(process)
            assert await answer(process) == "still here"

    run(test)


def test_an_answer_that_waits_for_a_slot_is_cancelled_at_once() -> None:
    async def test() -> None:
        async with loaded() as process, aclosing(process.answer(SLOW)) as running:
            await first_piece(running)
            waiting = process.answer(SLOW)
            await until(Queued, waiting)
            await waiting.aclose()
            assert "busy with 1" in repr(process)
            assert await first_piece(running)

    run(test)


def test_closing_after_the_last_event_but_before_the_end_works_too() -> None:
    async def test() -> None:
        async with loaded() as process:
            async with aclosing(process.answer(asked("a"))) as stream:
                await until(Finished, stream)
            assert await answer(process) == "still here"

    run(test)


def test_an_iterator_that_was_never_begun_asks_nothing() -> None:
    async def test() -> None:
        async with loaded() as process:
            await process.answer(HANGING).aclose()
            assert await answer(process) == "still here"

    run(test)


@pytest.mark.parametrize("times", [1, 2])
def test_cancelling_the_task_cancels_the_answer(times: int) -> None:
    async def test() -> None:
        async with loaded() as process:
            begun = asyncio.Event()

            async def consume() -> None:
                async with aclosing(process.answer(SLOW)) as stream:
                    async for _ in stream:
                        begun.set()

            task = asyncio.create_task(consume())
            await begun.wait()
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0)
            assert (await asyncio.gather(task, return_exceptions=True))[0].__class__ is (
                asyncio.CancelledError
            )
            assert await answer(process) == "still here"
            assert process.alive

    run(test)


def test_whoever_leaves_while_text_is_tokenised_harms_nobody(probe: Probe) -> None:
    async def test() -> None:
        async with loaded(probe("m")) as process:
            leaving = asyncio.create_task(process.tokenize("tokenised for a while"))
            await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            assert await answer(process) == "done"

    run(test)


# --- stuck: native code that does not hear -----------------------------------------------------


def test_a_child_that_does_not_confirm_a_cancel_is_killed(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "CANCEL_PATIENCE", 0.1)

    async def test() -> None:
        async with loaded(probe("m")) as process:
            stream = process.answer(asked("stuck as 1"))
            assert await first_piece(stream) == Piece("from within")
            await stream.aclose()
            with pytest.raises(EngineDied, match="did not stop an answer that was cancelled"):
                await answer(process)

    run(test)


def test_a_child_in_which_others_are_answered_is_killed_when_they_are_done(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "CANCEL_PATIENCE", 0.05)

    async def test() -> None:
        async with loaded(probe("m", slots=2)) as process:
            other = process.answer(asked("stuck for a while as 1"))
            stuck = process.answer(asked("stuck as 2"))
            await first_piece(other)
            await first_piece(stuck)
            await stuck.aclose()
            assert process.alive
            assert await until(Finished, other)
            assert [event async for event in other] == []
            assert not process.alive

    run(test)


def test_a_child_that_comes_to_itself_is_kept(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "CANCEL_PATIENCE", 0.05)

    async def test() -> None:
        async with loaded(probe("m", slots=2)) as process:
            for_a_while = process.answer(asked("stuck for a while as 1"))
            other = process.answer(asked("stuck for longer as 2"))
            await first_piece(for_a_while)
            await first_piece(other)
            await for_a_while.aclose()
            assert "busy with 2" in repr(process)
            assert await until(Finished, other)
            await other.aclose()
            assert await answer(process, "x") == "done"

    run(test)


def test_native_code_that_does_not_hear_a_close_is_killed(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "CLOSE_PATIENCE", 0.1)

    async def test() -> None:
        process = await EngineProcess.start(probe("stuck"))
        load = asyncio.create_task(process.load())
        await asyncio.sleep(0)
        await process.close()
        with pytest.raises(EngineDied, match="'stuck' was unloaded under the request"):
            await load

    run(test)


# --- hung --------------------------------------------------------------------------------------


def test_an_answer_that_says_nothing_for_too_long_ends_the_process_and_all_answers() -> None:
    async def test() -> None:
        async with loaded(stall_patience=STALL) as process:
            hanging = process.answer(HANGING)
            assert await first_piece(hanging) == Piece("a ")
            waiting = process.answer(asked("I wait"))
            await until(Queued, waiting)
            for stream in (hanging, waiting):
                with pytest.raises(EngineDied, match=STALLED) as caught:
                    [event async for event in stream]
                assert (caught.value.status, caught.value.retry_after) == (503, 1)
            assert not process.alive

    run(test)


def test_a_slot_that_hangs_with_an_answer_that_was_cancelled_ends_the_process(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "CANCEL_PATIENCE", 0.05)

    async def test() -> None:
        async with loaded(probe("m"), stall_patience=STALL) as process:
            stuck, waiting = process.answer(asked("stuck as 1")), process.answer(asked("I wait"))
            await first_piece(stuck)
            await until(Queued, waiting)
            await stuck.aclose()
            assert process.alive
            await all_died(waiting)

    run(test)


def test_a_slot_that_hangs_when_its_answer_is_out_ends_the_process_and_who_waits(
    probe: Probe, tmp_path: Path
) -> None:
    told = tmp_path / "told"

    async def test() -> None:
        async with loaded(probe("m", path=str(told)), stall_patience=STALL) as process:
            before = process.answer(asked("stuck when told"))
            await first_piece(before)
            waiting = [process.answer(asked("I wait")) for _ in range(2)]
            for stream in waiting:
                await until(Queued, stream)
            told.touch()
            assert await until(Finished, before)
            await all_died(*waiting)

    run(test)


def test_a_slot_that_hangs_when_its_answer_is_out_ends_the_process_of_who_comes_later(
    probe: Probe,
) -> None:
    async def test() -> None:
        async with loaded(probe("m"), stall_patience=STALL) as process:
            assert await answer(process, "stuck afterwards") == "done"
            await all_died(process.answer(asked("I come later")))

    run(test)


def test_who_got_a_slot_that_hangs_does_not_wait_for_what_others_say(probe: Probe) -> None:
    async def test() -> None:
        async with loaded(probe("m", slots=2), stall_patience=STALL) as process:
            talking = process.answer(asked("talks on"))
            await first_piece(talking)
            assert await answer(process, "stuck afterwards") == "done"
            await all_died(process.answer(asked("I got its slot")), talking)

    run(test)


def test_a_prompt_that_is_never_tokenised_ends_the_process_and_who_came_later(
    probe: Probe,
) -> None:
    async def test() -> None:
        async with loaded(probe("m", slots=2), stall_patience=STALL) as process:
            talking = process.answer(asked("talks on"))
            await first_piece(talking)
            await all_died(
                process.answer(asked("never tokenised")), process.answer(asked("later")), talking
            )

    run(test)


def test_a_text_that_is_never_tokenised_ends_the_process(probe: Probe) -> None:
    async def test() -> None:
        async with loaded(probe("m"), stall_patience=STALL) as process:
            with pytest.raises(EngineDied, match=STALLED):
                await process.tokenize("never tokenised")

    run(test)


def test_whoever_waits_for_a_slot_may_hear_nothing_for_as_long_as_the_others_take() -> None:
    async def test() -> None:
        async with loaded(stall_patience=STALL) as process:
            running = process.answer(GenerationRequest(prompt="[[slow 0.01]] " * 150))
            await first_piece(running)
            waiting = asyncio.create_task(answer(process, "at last"))
            assert await until(Finished, running)
            assert await waiting == "at last"

    run(test)


def test_tokens_that_show_nothing_are_work(probe: Probe) -> None:
    async def test() -> None:
        async with loaded(probe("m"), stall_patience=1) as process:
            assert await answer(process, "shows nothing for a while") == "done"

    run(test)


def stand_still(seconds: float) -> None:
    """The event loop does, as when the machine is suspended."""
    time.sleep(seconds)


def test_the_time_in_which_both_of_us_stand_still_does_not_count(probe: Probe) -> None:
    async def test() -> None:
        async with loaded(probe("m"), stall_patience=1) as process:
            stream = process.answer(asked("stuck for a while as 1"))
            await first_piece(stream)
            os.kill(process.pid, signal.SIGSTOP)
            stand_still(1.5)
            os.kill(process.pid, signal.SIGCONT)
            assert await until(Finished, stream)

    run(test)


@pytest.mark.parametrize("how", ["computes", "reads", "sleeps"])
def test_loading_may_take_longer(probe: Probe, how: str) -> None:
    """However long it works; and it may be quiet for some time."""

    async def test() -> None:
        async with loaded(probe(f"{how} for long"), stall_patience=0.3) as process:
            assert process.alive

    run(test)


def test_a_load_that_neither_computes_nor_reads_is_ended(probe: Probe) -> None:
    async def test() -> None:
        process = await EngineProcess.start(probe("stuck"), stall_patience=0.1)
        died = r"neither computed nor read for 0\.5 seconds \(5 times the setting stall_patience\)"
        with pytest.raises(EngineDied, match=died) as caught:
            await process.load()
        assert (caught.value.status, caught.value.retry_after) == (503, 1)
        assert not process.alive
        await process.close()

    run(test)


# --- crashed, killed ---------------------------------------------------------------------------


def test_a_killed_process_is_an_error_for_everybody_in_it() -> None:
    async def test() -> None:
        async with loaded(TWO_SLOTS) as process:
            streams = [process.answer(SLOW) for _ in range(3)]
            for stream, reached in zip(streams, (Piece, Started, Queued), strict=True):
                await until(reached, stream)
            os.kill(process.pid, signal.SIGKILL)
            died = r"process of the model 'e' was killed by SIGKILL, probably .* memory ran out"
            for stream in streams:
                with pytest.raises(EngineDied, match=died):
                    [event async for event in stream]
            with pytest.raises(EngineDied, match=died):
                await answer(process)
            assert not process.alive

    run(test)


@pytest.mark.parametrize(
    ("id", "error", "reason"),
    [
        ("raises", EngineFailed, "ZeroDivisionError; the"),
        ("exits", EngineDied, "ended with exit code 3"),
        ("answers something else", EngineDied, "spoke nonsense: Prepared instead of Loaded"),
    ],
)
def test_a_load_that_goes_wrong(probe: Probe, id: str, error: type[Exception], reason: str) -> None:
    async def test() -> None:
        process = await EngineProcess.start(probe(id))
        with pytest.raises(error, match=reason):
            await process.load()
        await process.close()

    run(test)


def test_a_cancelled_load_kills_the_process(probe: Probe) -> None:
    async def test() -> None:
        process = await EngineProcess.start(probe("stuck"))
        load = asyncio.create_task(process.load())
        await asyncio.sleep(0)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        with pytest.raises(EngineDied, match="was ended in the middle of Load"):
            await answer(process)
        await process.close()

    run(test)


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("crash", r"was killed by SIGSEGV\. The next"),
        ("abort", "was killed by SIGABRT, as native code does that gets no memory: a smaller ctx"),
        ("nonsense", "spoke nonsense: a frame of 4294967295 bytes is announced"),
        ("silence", "was killed by SIGKILL"),
        ("cancelled by itself", "was killed by SIGKILL"),
    ],
)
def test_an_answer_that_goes_wrong(
    probe: Probe, monkeypatch: pytest.MonkeyPatch, prompt: str, reason: str
) -> None:
    monkeypatch.setattr(connection, "CLOSE_PATIENCE", 0.2)
    monkeypatch.setattr(process_module, "CLOSE_PATIENCE", 0.2)

    async def test() -> None:
        async with loaded(probe("m")) as process:
            with pytest.raises(EngineDied, match=reason):
                await events(process, prompt)
            assert not process.alive

    run(test)


def test_another_reply_than_the_one_expected_is_nonsense(probe: Probe) -> None:
    async def test() -> None:
        async with loaded(probe("m")) as process:
            with pytest.raises(EngineDied, match="nonsense: Detokenized instead of Tokenized"):
                await process.tokenize("answered wrongly")

    run(test)


def test_a_process_killed_while_its_answer_is_being_cancelled_is_found_out_by_the_next() -> None:
    async def test() -> None:
        async with loaded() as process:
            stream = process.answer(SLOW)
            await first_piece(stream)
            os.kill(process.pid, signal.SIGKILL)
            await stream.aclose()
            with pytest.raises(EngineDied, match="was killed by SIGKILL"):
                await answer(process)

    run(test)


def test_a_process_killed_while_it_is_being_told_something_is_an_engine_died() -> None:
    async def test() -> None:
        async with loaded() as process:
            os.kill(process.pid, signal.SIGSTOP)
            asking = asyncio.create_task(answer(process, "x" * 10**6))  # More than the pipe holds.
            await asyncio.sleep(0)
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(EngineDied, match="was killed by SIGKILL"):
                await asking

    run(test)


def test_a_process_that_died_unnoticed_is_found_out_by_the_next() -> None:
    async def test() -> None:
        async with loaded(ECHO) as process:
            await events(process, "a")
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(EngineDied, match="was killed by SIGKILL"):
                await answer(process)

    run(test)
