"""Engines in their own processes: real children, of the echo engine and of one that misbehaves."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

import jan_server
from jan_server import engines
from jan_server.engines import process as process_module
from jan_server.engines import wire
from jan_server.engines.base import (
    Event,
    Finished,
    GenerationRequest,
    ModelInfo,
    ModelSpec,
    Piece,
    Progress,
    Started,
)
from jan_server.engines.process import EngineProcess, how_it_ended
from jan_server.errors import (
    ContextLengthExceeded,
    EngineDied,
    EngineFailed,
    InvalidRequest,
    ModelCannotRun,
    ShuttingDown,
)

ECHO = ModelSpec(id="e", engine="echo")
SLOW = GenerationRequest(prompt="[[slow 0.01]] " * 500)

# An engine of another package, found by its entry point. What it does is asked for by the model's
# id (while it loads) and by the prompt (while it generates).
PROBE = """
import os, signal, stat, sys, time
from jan_server.engines import wire
from jan_server.engines.base import Finished, ModelInfo, Piece, Started
from jan_server.errors import ModelCannotRun

def onto_the_wire(data):
    for fd in range(3, 20):
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.write(fd, data)
        except OSError:
            pass

class Probe:
    needs_weights = False
    def prepare(self, spec):
        raise ModelCannotRun("prepared and found wanting")
    def load(self, spec):
        LOADING.get(spec.id, lambda: None)()
        return Model(spec)

class Model:
    info = ModelInfo(context_length=64, chat_template="{{ x }}", device="probe")
    def __init__(self, spec):
        self.spec = spec
    def generate(self, request):
        yield Started(1)
        GENERATING.get(request.prompt, lambda: None)()
        yield Piece("done")
        yield Finished("stop", 1)
    def close(self):
        if self.spec.path:
            open(self.spec.path, "a").write("closed ")

LOADING = {
    "raises": lambda: 1 / 0,
    "exits": lambda: os._exit(3),
    "stuck": lambda: time.sleep(60),
    "prints": lambda: (os.write(1, b"native noise\\n"), print("python noise", flush=True)),
    "answers something else": lambda: onto_the_wire(wire.encode(wire.Prepared())),
}
GENERATING = {
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "stuck": lambda: (
        onto_the_wire(wire.encode(wire.Emitted(1, Piece("from within")))),
        time.sleep(60),
    ),
    "read": lambda: sys.stdin.read(),
    "nonsense": lambda: onto_the_wire(b"\\xff" * 8),
    "silence": lambda: (os.closerange(3, 20), time.sleep(60)),
}
"""


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModelSpec]:
    """Specs of models of the probe engine."""
    (tmp_path / "probe_engine.py").write_text(PROBE)
    info = tmp_path / "probe_engine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: probe-engine\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[jan_server.engines]\nprobe = probe_engine:Probe\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return lambda id, path="": ModelSpec(id=id, engine="probe", path=path)


@asynccontextmanager
async def loaded(spec: ModelSpec = ECHO) -> AsyncIterator[EngineProcess]:
    process = await EngineProcess.start(spec)
    try:
        await process.load()
        yield process
    finally:
        await process.close()


async def events(process: EngineProcess, prompt: str) -> list[Event]:
    return [event async for event in process.generate(GenerationRequest(prompt=prompt))]


async def answer(process: EngineProcess, prompt: str = "still here") -> str:
    return "".join(e.text for e in await events(process, prompt) if isinstance(e, Piece))


async def first_piece(stream: AsyncGenerator[Event]) -> Piece:
    async for event in stream:
        if isinstance(event, Piece):
            return event
    raise AssertionError("no piece came")


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within_time() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(within_time())


def test_it_loads_and_answers() -> None:
    async def test() -> None:
        process = await EngineProcess.start(ECHO)
        await process.prepare()
        info = await process.load()
        assert info == process.info == ModelInfo(context_length=2048, device="nothing")
        assert await events(process, "a b") == [
            Started(2),
            Progress(2),
            Piece("a "),
            Piece("b"),
            Finished("stop", 2),
        ]
        await process.close()

    run(test)


def test_its_repr_tells_the_state() -> None:
    async def test() -> None:
        process = await EngineProcess.start(ECHO)
        said = [repr(process)]
        await process.load()
        said.append(repr(process))
        async with aclosing(process.generate(SLOW)) as stream:
            await first_piece(stream)
            said.append(repr(process))
        with pytest.raises(EngineDied):
            await events(process, "[[die]]")
        said.append(repr(process))
        await process.close()
        said.append(repr(process))
        states = ["started", "loaded", "busy", "ended with exit code 70", "closed"]
        assert said == [f"<EngineProcess e {state} pid={process.pid}>" for state in states]

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
            assert await answer(process) == "still here"

    run(test)


def test_generating_before_loading_is_an_error_of_the_caller() -> None:
    async def test() -> None:
        process = await EngineProcess.start(ECHO)
        with pytest.raises(EngineFailed, match="nothing is loaded"):
            await events(process, "a")
        await process.close()

    run(test)


def test_closing_the_iterator_cancels_and_the_next_request_works() -> None:
    async def test() -> None:
        async with loaded() as process:
            for _ in range(3):
                stream = process.generate(SLOW)
                assert await first_piece(stream) == Piece("[[slow ")
                await stream.aclose()
                assert "loaded" in repr(process)
            assert await answer(process) == "still here"

    run(test)


def test_closing_after_the_last_event_but_before_the_end_works_too() -> None:
    async def test() -> None:
        async with loaded() as process:
            async with aclosing(process.generate(GenerationRequest(prompt="a"))) as stream:
                async for event in stream:
                    if isinstance(event, Finished):
                        break
            assert await answer(process) == "still here"

    run(test)


@pytest.mark.parametrize("times", [1, 2])
def test_cancelling_the_task_cancels_the_generation(times: int) -> None:
    async def test() -> None:
        async with loaded() as process:
            begun = asyncio.Event()

            async def consume() -> None:
                async with aclosing(process.generate(SLOW)) as stream:
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


def test_a_second_request_waits_for_the_first_and_a_cancelled_one_just_leaves() -> None:
    async def test() -> None:
        async with loaded() as process:
            order: list[str] = []

            async def ask(name: str) -> None:
                await answer(process, f"{name} [[slow 0.01]]")
                order.append(name)

            tasks = [asyncio.create_task(ask(name)) for name in ("first", "left", "third")]
            await asyncio.sleep(0)
            tasks[1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert order == ["first", "third"]

    run(test)


def test_a_killed_process_is_an_error_that_names_the_signal() -> None:
    async def test() -> None:
        async with loaded() as process:
            stream = process.generate(SLOW)
            await first_piece(stream)
            waiting = asyncio.create_task(answer(process))
            await asyncio.sleep(0)
            os.kill(process.pid, signal.SIGKILL)
            died = r"process of the model 'e' was killed by SIGKILL\. The next request starts"
            with pytest.raises(EngineDied, match=died):
                [event async for event in stream]
            with pytest.raises(EngineDied, match=died):
                await waiting
            with pytest.raises(EngineDied, match=died):
                await answer(process)
            assert not process.alive

    run(test)


def test_a_reader_that_stays_away_stops_the_engine_and_misses_nothing() -> None:
    async def test() -> None:
        prompt = "word" * 1000 + " "
        async with loaded(ModelSpec(id="e", engine="echo", ctx_len=10**6)) as process:
            stream = process.generate(GenerationRequest(prompt=prompt * 300))
            assert await anext(stream) == Started(300)
            other = await EngineProcess.start(ECHO)  # something else goes on meanwhile
            await other.close()
            rest = "".join([e.text async for e in stream if isinstance(e, Piece)])
            assert rest == prompt * 300

    run(test)


def test_ctrl_c_is_the_servers_to_handle() -> None:
    async def test() -> None:
        async with loaded() as process:
            stream = process.generate(GenerationRequest(prompt="[[slow 0.01]] a b"))
            await first_piece(stream)
            os.kill(process.pid, signal.SIGINT)
            assert [e async for e in stream][-1] == Finished("stop", 4)

    run(test)


def test_closing_while_generating_ends_it_with_the_reason_given() -> None:
    async def test() -> None:
        async with loaded() as process:
            stream = process.generate(SLOW)
            await first_piece(stream)
            reason = ShuttingDown("The server is shutting down.")
            closing = asyncio.create_task(process.close(reason))
            with pytest.raises(ShuttingDown):
                [event async for event in stream]
            await closing
            with pytest.raises(ShuttingDown):
                await answer(process)

    run(test)


def test_an_abandoned_generation_does_not_keep_a_process_from_closing() -> None:
    async def test() -> None:
        async with loaded() as process:
            stream = process.generate(SLOW)
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


@pytest.mark.parametrize(
    ("id", "error", "reason"),
    [
        ("raises", EngineFailed, "ZeroDivisionError; the"),
        ("exits", EngineDied, "ended with exit code 3"),
        ("answers something else", EngineDied, r"spoke nonsense: Prepared\(\) to Load"),
    ],
)
def test_a_load_that_goes_wrong(
    probe: Callable[..., ModelSpec], id: str, error: type[Exception], reason: str
) -> None:
    async def test() -> None:
        process = await EngineProcess.start(probe(id))
        with pytest.raises(error, match=reason):
            await process.load()
        await process.close()

    run(test)


def test_a_cancelled_load_kills_the_process(probe: Callable[..., ModelSpec]) -> None:
    async def test() -> None:
        process = await EngineProcess.start(probe("stuck"))
        load = asyncio.create_task(process.load())
        await asyncio.sleep(0)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        with pytest.raises(EngineDied, match="was killed by SIGKILL"):
            await answer(process)
        await process.close()

    run(test)


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("crash", "was killed by SIGSEGV"),
        ("nonsense", "spoke nonsense: a frame of 4294967295 bytes is announced"),
        ("silence", "was killed by SIGKILL"),
    ],
)
def test_a_generation_that_goes_wrong(
    probe: Callable[..., ModelSpec], monkeypatch: pytest.MonkeyPatch, prompt: str, reason: str
) -> None:
    monkeypatch.setattr(process_module, "CLOSE_PATIENCE", 0.2)

    async def test() -> None:
        async with loaded(probe("m")) as process:
            with pytest.raises(EngineDied, match=reason):
                await events(process, prompt)
            assert not process.alive

    run(test)


def test_native_code_that_does_not_hear_a_cancel_is_killed(
    probe: Callable[..., ModelSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "CANCEL_PATIENCE", 0.1)

    async def test() -> None:
        async with loaded(probe("m")) as process:
            stream = process.generate(GenerationRequest(prompt="stuck"))
            assert await first_piece(stream) == Piece("from within")
            await stream.aclose()
            with pytest.raises(EngineDied, match="was killed by SIGKILL"):
                await answer(process)

    run(test)


def test_native_code_that_does_not_hear_a_close_is_killed(
    probe: Callable[..., ModelSpec], monkeypatch: pytest.MonkeyPatch
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


def test_a_process_killed_while_its_generation_is_being_cancelled_is_found_out_by_the_next() -> (
    None
):
    async def test() -> None:
        async with loaded() as process:
            stream = process.generate(SLOW)
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
            asking = asyncio.create_task(answer(process, "x" * 10**6))  # more than the pipe holds
            await asyncio.sleep(0)
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(EngineDied, match="was killed by SIGKILL"):
                await asking

    run(test)


def test_two_models_answer_side_by_side() -> None:
    async def test() -> None:
        async with loaded() as one, loaded(ModelSpec(id="f", engine="echo")) as other:
            stream = one.generate(GenerationRequest(prompt="[[slow 0.01]] a b"))
            await first_piece(stream)
            assert await answer(other) == "still here"
            assert [e async for e in stream][-1] == Finished("stop", 4)

    run(test)


def test_the_current_directory_is_anybodys_and_nothing_is_imported_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("jan_server.py", "queue.py", "msgspec.py"):
        (tmp_path / name).write_text("raise SystemExit('imported from the current directory')")
    monkeypatch.chdir(tmp_path)

    async def test() -> None:
        async with loaded() as process:
            assert await answer(process) == "still here"

    run(test)


def test_an_installed_package_needs_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = Path(sysconfig.get_path("purelib"), "jan_server", "__init__.py")
    monkeypatch.setattr(jan_server, "__file__", str(installed))
    assert process_module._environment() == dict(os.environ)


def test_a_process_that_cannot_be_started_is_an_engine_died(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")

    async def test() -> None:
        with pytest.raises(EngineDied, match="No process can be started for the model 'e'"):
            await EngineProcess.start(ECHO)

    run(test)


@pytest.mark.parametrize(
    ("returncode", "told"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-9, "was killed by SIGKILL"),
        (-63, "was killed by signal 63"),
    ],
)
def test_how_it_ended(returncode: int, told: str) -> None:
    assert how_it_ended(returncode) == told


@pytest.mark.parametrize("last_words", [b"", b"\xff" * 8])
def test_the_child_ends_at_once_when_the_server_is_gone_or_mad(last_words: bytes) -> None:
    command = [sys.executable, "-m", "jan_server.engines.child"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        child.stdin.write(wire.encode(wire.Load(ECHO)))
        request = GenerationRequest(prompt="[[slow 60]] a")
        child.stdin.write(wire.encode(wire.Generate(1, request)))
        child.stdin.flush()
        splitter = wire.Splitter()
        heard: list[wire.Reply] = []
        while len(heard) < 3:
            heard += [
                wire.decode_reply(b) for b in splitter.feed(os.read(child.stdout.fileno(), 99))
            ]
        assert [type(reply) for reply in heard] == [wire.Loaded, wire.Emitted, wire.Emitted]
        child.stdin.write(last_words)
        began = time.monotonic()
        child.stdin.close()
        assert child.wait(timeout=5) == 0
        assert time.monotonic() - began < 1


def test_a_child_whose_replies_nobody_reads_ends_quietly() -> None:
    command = [sys.executable, "-m", "jan_server.engines.child"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdin
        assert child.stdout
        assert child.stderr
        child.stdout.close()
        child.stdin.write(wire.encode(wire.Load(ECHO)))
        child.stdin.flush()
        assert (child.wait(timeout=5), child.stderr.read()) == (0, b"")
