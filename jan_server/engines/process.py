"""A model in a process of its own, as the server sees it.

One request at a time: a second `generate` waits for the first. There is one way to cancel: closing
the iterator. Whatever leaves `generate` early, the child is told, and its confirmation is read
before the next request is sent; a child that does not confirm in time is stuck in native code and
is killed. A killed or crashed child is an EngineDied for whoever waits; it is not started again
here (`pool.py` does that).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import sysconfig
from asyncio.subprocess import PIPE, Process, SubprocessStreamProtocol
from collections import deque
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final, TypeVar

import jan_server
from jan_server.engines import wire
from jan_server.engines.base import Event, GenerationRequest, ModelInfo, ModelSpec
from jan_server.errors import EngineDied, InvalidRequest, JanError

# A prompt's chunk of 128 tokens takes a large model on a slow CPU this long; beyond it is stuck.
CANCEL_PATIENCE: Final = 4.0
CLOSE_PATIENCE: Final = 2.0

P = TypeVar("P")
R = TypeVar("R", wire.Prepared, wire.Loaded)

_READ_SIZE = 65536


class EngineProcess:
    """Made by `start`; whoever made it must `close` it, also when it died or failed to load."""

    def __init__(
        self,
        spec: ModelSpec,
        transport: asyncio.SubprocessTransport,
        protocol: SubprocessStreamProtocol,
    ) -> None:
        self.spec = spec
        self._transport = transport
        self._process = Process(transport, protocol, asyncio.get_running_loop())
        self._commands = _there(protocol.stdin)
        self._replies = _there(protocol.stdout)
        self._splitter = wire.Splitter()
        self._unread: deque[bytes] = deque()
        self._turn = asyncio.Lock()
        self._last_id = 0
        self._info: ModelInfo | None = None
        self._ended_by: JanError | None = None
        self._clean_ups: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(cls, spec: ModelSpec) -> EngineProcess:
        """Start the child; nothing is loaded yet. Raises EngineDied when none can be started."""
        command = (sys.executable, "-P", "-m", "jan_server.engines.child")
        loop = asyncio.get_running_loop()
        try:
            # What create_subprocess_exec does, but it keeps the transport to itself, and without
            # that the pipe of replies that nobody will read cannot be shut.
            transport, protocol = await loop.subprocess_exec(
                lambda: SubprocessStreamProtocol(limit=_READ_SIZE, loop=loop),
                *command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=None,
                env=_environment(),
            )
        except OSError as error:
            raise EngineDied(
                f"No process can be started for the model {spec.id!r}: {error}.", retry_after=5
            ) from error
        return cls(spec, transport, protocol)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and self._ended_by is None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def info(self) -> ModelInfo:
        """What the model said when it was loaded."""
        assert self._info is not None, "load() comes first"
        return self._info

    def __repr__(self) -> str:
        if self._ended_by is not None:
            state = "closed"
        elif self._process.returncode is not None:
            state = how_it_ended(self._process.returncode)
        elif self._turn.locked():
            state = "busy"
        else:
            state = "loaded" if self._info else "started"
        return f"<EngineProcess {self.spec.id} {state} pid={self.pid}>"

    async def prepare(self) -> None:
        """See Engine.prepare. Cancelling it kills the process."""
        await self._ask(wire.Prepare(self.spec), wire.Prepared)

    async def load(self) -> ModelInfo:
        """See Engine.load. Cancelling it kills the process."""
        self._info = (await self._ask(wire.Load(self.spec), wire.Loaded)).info
        return self._info

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event]:
        """See LoadedModel.generate. Raises EngineDied when the process ends meanwhile."""
        self._last_id += 1
        id, ended = self._last_id, False
        command = _frame(wire.Generate(id, request))
        await self._turn.acquire()
        try:
            await self._send(command)
            while isinstance(reply := await self._reply(), wire.Emitted):
                yield reply.event
            ended = True
            if isinstance(reply, wire.Failed):
                raise wire.raised(reply)
            if not isinstance(reply, wire.Done):
                raise await self._died()  # only close() ends a generation that we did not end
        finally:
            if ended or not self.alive:
                self._turn.release()
            else:
                # In a task of its own, so that cancelling us once more does not stop it half-way.
                await asyncio.shield(self._start_cleaning_up(id))

    async def close(self, because: JanError | None = None) -> None:
        """End the process, politely at first. A running generation raises `because`."""
        if self._ended_by is None:
            self._ended_by = because or EngineDied(
                f"The model {self.spec.id!r} was unloaded under the request.", retry_after=1
            )
        try:
            async with asyncio.timeout(CLOSE_PATIENCE):
                self._commands.write(_frame(wire.Close()))
                await self._process.wait()
        except TimeoutError:
            self._kill()
            await self._process.wait()
        finally:
            self._transport.close()  # also when we are cancelled: it kills, and shuts the pipes
        await asyncio.gather(*self._clean_ups)

    async def _ask(self, command: wire.Prepare | wire.Load, expected: type[R]) -> R:
        """Send a command that has one reply. Raises what the engine raised."""
        async with self._turn:
            try:
                await self._send(_frame(command))
                reply = await self._reply()
            except asyncio.CancelledError:
                self._kill()  # native loading cannot be interrupted in another way
                raise
        if isinstance(reply, wire.Failed):
            raise wire.raised(reply)
        if not isinstance(reply, expected):
            raise await self._spoke_nonsense(f"{reply!r} to {type(command).__name__}")
        return reply

    async def _send(self, frame: bytes) -> None:
        if not self.alive:
            raise await self._died()
        self._commands.write(frame)
        try:
            await self._commands.drain()
        except ConnectionError:
            raise await self._died() from None

    async def _reply(self) -> wire.Reply:
        """The next reply. Cancelling it loses none."""
        try:
            while not self._unread:
                data = await self._replies.read(_READ_SIZE)
                if not data:
                    raise await self._died()
                self._unread.extend(self._splitter.feed(data))
            return wire.decode_reply(self._unread.popleft())
        except wire.WireError as error:
            raise await self._spoke_nonsense(str(error)) from error

    def _start_cleaning_up(self, id: int) -> asyncio.Task[None]:
        task = asyncio.create_task(self._cancel(id))
        self._clean_ups.add(task)
        task.add_done_callback(self._clean_ups.discard)
        return task

    async def _cancel(self, id: int) -> None:
        """Have the child stop, read what it still says, and give the turn on."""
        try:
            async with asyncio.timeout(CANCEL_PATIENCE):
                await self._send(_frame(wire.Cancel(id)))
                while isinstance(await self._reply(), wire.Emitted):
                    pass
        except TimeoutError:
            self._kill()
            await self._process.wait()
        except JanError:
            pass  # the next request finds out
        finally:
            self._turn.release()

    async def _died(self) -> JanError:
        """The error that tells how the process ended; ends it when it only stopped talking."""
        try:
            async with asyncio.timeout(CLOSE_PATIENCE):
                await self._process.wait()
        except TimeoutError:
            self._kill()
        returncode = await self._process.wait()
        if self._ended_by is not None:
            return self._ended_by
        return EngineDied(
            f"The process of the model {self.spec.id!r} {how_it_ended(returncode)}. "
            "The next request starts a new one.",
            retry_after=1,
        )

    async def _spoke_nonsense(self, what: str) -> JanError:
        self._kill()
        await self._process.wait()
        return EngineDied(f"The process of the model {self.spec.id!r} spoke nonsense: {what}.")

    def _kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()


def _there(pipe: P | None) -> P:
    assert pipe is not None, "asked for with PIPE"
    return pipe


def _frame(command: wire.Command) -> bytes:
    try:
        return wire.encode(command)
    except wire.WireError as error:
        raise InvalidRequest(f"The prompt is too long for any engine: {error}.") from error


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
