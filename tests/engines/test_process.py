"""Engines in their own processes, as they should be: real children, many answers at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from jan_server import engines
from jan_server.engines import wire
from jan_server.engines.base import (
    Accepted,
    Embedded,
    EmbeddingRequest,
    Finished,
    GenerationRequest,
    ModelInfo,
    ModelSpec,
    Piece,
    Progress,
    Queued,
    Started,
)
from jan_server.engines.process import EngineProcess
from jan_server.errors import (
    ContextLengthExceeded,
    EngineDied,
    EngineFailed,
    InvalidRequest,
    ModelCannotRun,
    ShuttingDown,
)
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


def test_it_loads_and_answers() -> None:
    async def test() -> None:
        process = await EngineProcess.start(ECHO)
        await process.prepare()
        info = await process.load()
        expected = ModelInfo(context_length=2048, device="nothing", embedding_length=8)
        assert info == process.info == expected
        *rest, finished = await events(process, "a b")
        assert rest == [Accepted(2), Started(), Progress(2), Piece("a "), Piece("b")]
        assert isinstance(finished, Finished)
        assert (finished.reason, finished.completion_tokens) == ("stop", 2)
        await process.close()

    run(test)


def test_it_embeds_and_turns_text_into_tokens_and_back() -> None:
    async def test() -> None:
        async with loaded() as process:
            tokens = await process.tokenize("a b a ")
            assert await process.detokenize(tokens) == "a b a "
            heard = [e async for e in process.answer(EmbeddingRequest(prompt=tuple(tokens)))]
            assert isinstance(heard[-1], Embedded)
            assert len(heard[-1].vector) == 8
            with pytest.raises(InvalidRequest, match="99 is no token"):
                await process.detokenize([99])

    run(test)


def test_whether_a_text_begins_with_bos_is_passed_on(probe: Callable[..., ModelSpec]) -> None:
    async def test() -> None:
        async with loaded(probe("m")) as process:
            assert await process.tokenize("x") == [0]
            assert await process.tokenize("x", bos=False) == [-2]

    run(test)


def test_its_repr_tells_the_state() -> None:
    async def test() -> None:
        process = await EngineProcess.start(ECHO)
        said = [repr(process)]
        await process.load()
        said.append(repr(process))
        async with aclosing(process.answer(SLOW)) as stream:
            await first_piece(stream)
            said.append(repr(process))
        with pytest.raises(EngineDied):
            await events(process, "[[die]]")
        said.append(repr(process))
        await process.close()
        said.append(repr(process))
        states = ["started", "loaded", "busy with 1", "ended with exit code 70", "closed"]
        assert said == [f"<EngineProcess e {state} pid={process.pid}>" for state in states]

    run(test)


def test_answers_share_the_slots_and_what_waits_is_told_its_place() -> None:
    async def test() -> None:
        async with loaded(TWO_SLOTS) as process:
            one, other, third = (process.answer(SLOW) for _ in range(3))
            await first_piece(one)
            await first_piece(other)
            assert await until(Queued, third) == Queued(0)
            await one.aclose()
            assert await until(Started, third)
            assert await first_piece(other)
            for stream in (other, third):
                await stream.aclose()
            assert "loaded" in repr(process)

    run(test)


def test_every_answer_gets_its_own_words() -> None:
    async def test() -> None:
        async with loaded(TWO_SLOTS) as process:
            prompts = [f"[[slow 0.001]] {name} " * 20 for name in "abcdefgh"]
            assert await asyncio.gather(*(answer(process, prompt) for prompt in prompts)) == prompts

    run(test)


def test_clients_take_turns() -> None:
    async def test() -> None:
        async with loaded() as process:
            order: list[str] = []

            async def ask(name: str, client: str) -> None:
                request = GenerationRequest(prompt=f"{name} [[slow 0.001]]")
                async for event in process.answer(request, client=client):
                    if isinstance(event, Started):
                        order.append(name)

            async with aclosing(process.answer(SLOW, client="greedy")) as busy:
                await first_piece(busy)
                asked = [
                    asyncio.create_task(ask(name, client))
                    for name, client in [("g1", "greedy"), ("g2", "greedy"), ("m1", "modest")]
                ]
                # Replies to one command come after those to the ones before it.
                await process.tokenize("all have arrived")
            await asyncio.gather(*asked)
            assert order.index("m1") < order.index("g2")

    run(test)


def test_errors_of_the_engine_are_raised_here_and_the_process_goes_on() -> None:
    async def test() -> None:
        async with loaded(ModelSpec(id="e", engine="echo", ctx_len=8)) as process:
            with pytest.raises(ContextLengthExceeded, match="9 tokens"):
                await events(process, "a " * 9)
            with pytest.raises(
                EngineFailed, match="The engine failed: ValueError; the server's log says where"
            ):
                await events(process, "a [[fail]]")
            assert await answer(process) == "still here"

    run(test)


def test_a_prompt_too_large_for_the_wire_is_refused_and_the_process_goes_on() -> None:
    async def test() -> None:
        async with loaded() as process:
            with pytest.raises(InvalidRequest, match="too long for any engine"):
                await events(process, "x" * wire.MAX_FRAME)
            with pytest.raises(InvalidRequest, match="too long for any engine"):
                await process.tokenize("x" * wire.MAX_FRAME)
            assert await answer(process) == "still here"

    run(test)


def test_asking_before_loading_is_an_error_of_the_caller() -> None:
    async def test() -> None:
        process = await EngineProcess.start(ECHO)
        with pytest.raises(EngineFailed, match="nothing is loaded"):
            await events(process, "a")
        await process.close()

    run(test)


def test_a_reader_that_stays_away_holds_up_nobody_and_misses_nothing() -> None:
    async def test() -> None:
        prompt = "word" * 1000 + " "
        async with loaded(ModelSpec(id="e", engine="echo", ctx_len=10**6, slots=2)) as process:
            stream = process.answer(GenerationRequest(prompt=prompt * 300))
            assert await anext(stream) == Accepted(300)
            assert await answer(process, "not held up") == "not held up"
            rest = "".join([e.text async for e in stream if isinstance(e, Piece)])
            assert rest == prompt * 300

    run(test)


def test_a_prompt_larger_than_the_pipe_arrives_whole() -> None:
    async def test() -> None:
        async with loaded(ModelSpec(id="e", engine="echo", ctx_len=10**6)) as process:
            assert await answer(process, "x" * 10**6) == "x" * 10**6

    run(test)


def test_ctrl_c_is_the_servers_to_handle() -> None:
    async def test() -> None:
        async with loaded() as process:
            stream = process.answer(GenerationRequest(prompt="[[slow 0.01]] a b"))
            await first_piece(stream)
            os.kill(process.pid, signal.SIGINT)
            assert await until(Finished, stream)

    run(test)


def test_closing_tells_every_answer_the_reason_given() -> None:
    async def test() -> None:
        async with loaded() as process:
            running, waiting = process.answer(SLOW), process.answer(SLOW)
            await first_piece(running)
            await until(Queued, waiting)
            closing = asyncio.create_task(process.close(ShuttingDown("Shutting down.")))
            for stream in (running, waiting):
                with pytest.raises(ShuttingDown):
                    [event async for event in stream]
            await closing
            with pytest.raises(ShuttingDown):
                await answer(process)

    run(test)


def test_an_abandoned_answer_does_not_keep_a_process_from_closing() -> None:
    async def test() -> None:
        async with loaded() as process:
            stream = process.answer(SLOW)
            await first_piece(stream)
            await process.close()
            await stream.aclose()
            assert not process.alive

    run(test)


def test_closing_lets_the_engine_unload_its_model(
    probe: Callable[..., ModelSpec], tmp_path: Path
) -> None:
    async def test() -> None:
        async with loaded(probe("m", path=str(tmp_path / "log"))) as process:
            await process.load()
        assert (tmp_path / "log").read_text() == "closed closed "

    run(test)


def test_an_engine_of_another_package_is_found_and_its_noise_stays_off_the_wire(
    probe: Callable[..., ModelSpec], capfd: pytest.CaptureFixture[str]
) -> None:
    async def test() -> None:
        async with loaded(probe("prints")) as process:
            assert process.info == ModelInfo(
                context_length=64, chat_template="{{ x }}", device="probe"
            )
            assert await answer(process, "read") == "done"

    run(test)
    assert capfd.readouterr().err == "native noise\npython noise\n"


def test_an_engine_of_another_package_says_whether_it_needs_weights(
    probe: Callable[..., ModelSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert engines.canonical_name("probe") == "probe"
    assert not engines.needs_weights("probe")


def test_what_prepare_raises_is_raised_here(probe: Callable[..., ModelSpec]) -> None:
    async def test() -> None:
        process = await EngineProcess.start(probe("m"))
        with pytest.raises(ModelCannotRun, match="prepared and found wanting"):
            await process.prepare()
        await process.close()

    run(test)


def test_two_models_answer_side_by_side() -> None:
    async def test() -> None:
        async with loaded() as one, loaded(ModelSpec(id="f", engine="echo")) as other:
            stream = one.answer(GenerationRequest(prompt="[[slow 0.01]] a b"))
            await first_piece(stream)
            assert await answer(other) == "still here"
            assert await until(Finished, stream)

    run(test)
