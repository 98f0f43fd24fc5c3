"""How a child is started, and what is said of its end."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

import jan_server
from jan_server.engines import connection, wire
from jan_server.engines.base import GenerationRequest, Piece
from jan_server.engines.connection import how_it_ended
from jan_server.engines.process import EngineProcess
from jan_server.errors import EngineDied
from tests.engines.processes import ECHO, answer, loaded, run


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
    assert connection._environment() == dict(os.environ)


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
        child.stdin.flush()
        splitter = wire.Splitter()
        heard: list[wire.Reply] = []
        request = GenerationRequest(prompt="a [[hang]]")
        while not (
            heard and isinstance(heard[-1], wire.Emitted) and heard[-1].event == Piece("a ")
        ):
            before = len(heard)
            heard += map(wire.decode_reply, splitter.feed(os.read(child.stdout.fileno(), 99)))
            if before == 0 and heard:
                child.stdin.write(wire.encode(wire.Answer(1, request)))
                child.stdin.flush()
        child.stdin.write(last_words)
        began = time.monotonic()
        child.stdin.close()
        assert child.wait(timeout=60) == 0
        assert time.monotonic() - began < 4


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
        assert (child.wait(timeout=60), child.stderr.read()) == (0, b"")
