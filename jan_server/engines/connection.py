"""A child process that speaks `wire.py`: replies come out as calls, and at last that it is gone.

Nothing here knows what the messages mean. Reading never waits: a reply is handed on as soon as it
is whole. Writing does not wait either; what the pipe cannot take yet is kept, and whoever writes
bounds how much that is. `lost` is called once, after all that the child had said.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import sysconfig
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import jan_server
from jan_server.engines import wire

COMMAND: Final = ("-P", "-m", "jan_server.engines.child")

# How long a child that closed its pipe, or was told to close, has to end by itself.
CLOSE_PATIENCE: Final = 2.0

_STDIN, _STDOUT = 0, 1


class Connection(asyncio.SubprocessProtocol):
    """Made by `open`; whoever opened it must `close` it, also when the child is gone already."""

    def __init__(
        self,
        heard: Callable[[wire.Reply], None],
        misheard: Callable[[wire.WireError], None],
        lost: Callable[[], None],
    ) -> None:
        self._heard, self._misheard, self._lost = heard, misheard, lost
        self._splitter = wire.Splitter()
        self._loop = asyncio.get_running_loop()
        self._gone = asyncio.Event()
        self._transport: asyncio.SubprocessTransport | None = None
        self._impatience: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Start the child. Raises OSError."""
        await self._loop.subprocess_exec(
            lambda: self,
            sys.executable,
            *COMMAND,
            stdin=PIPE,
            stdout=PIPE,
            stderr=None,
            env=_environment(),
        )

    @property
    def pid(self) -> int:
        return self._there.get_pid()

    @property
    def returncode(self) -> int | None:
        return self._there.get_returncode()

    def write(self, frame: bytes) -> None:
        """Nothing happens when the child is gone: `lost` has said so, or will."""
        pipe = cast("asyncio.WriteTransport | None", self._there.get_pipe_transport(_STDIN))
        if pipe is not None and not pipe.is_closing():
            pipe.write(frame)

    def kill(self) -> None:
        if self.returncode is None:
            self._there.kill()

    async def wait(self, seconds: float | None = None) -> None:
        """Until the child is gone. One that is still there after so many seconds is killed."""
        try:
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        except TimeoutError:
            self.kill()
            await self._gone.wait()

    def close(self) -> None:
        """Shut the pipes, and kill the child if it is still there."""
        self._there.close()

    @property
    def _there(self) -> asyncio.SubprocessTransport:
        assert self._transport is not None, "open() comes first"
        return self._transport

    # What asyncio calls:

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 - always stdout
        try:
            for body in self._splitter.feed(data):
                self._heard(wire.decode_reply(body))
        except wire.WireError as error:
            self._misheard(error)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        if fd == _STDOUT:  # Whoever closes it ends soon, or is stuck.
            self._impatience = self._loop.call_later(CLOSE_PATIENCE, self.kill)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the exit code tells
        if self._impatience is not None:
            self._impatience.cancel()
        self._gone.set()
        self._lost()


def how_it_ended(returncode: int) -> str:
    """`was killed by SIGKILL`, `ended with exit code 3`."""
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"


def _environment() -> dict[str, str]:
    """Ours, and this very package importable.

    -P keeps the current directory off the child's path: it is anybody's folder. Where the package
    is not installed but was found some other way, its root must be named instead.
    """
    root = str(Path(jan_server.__file__).parent.parent)
    if root == sysconfig.get_path("purelib"):
        return dict(os.environ)
    given = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, given)))}
