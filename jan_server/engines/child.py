"""The process that an engine runs in: `python -m jan_server.engines.child`.

A thread reads commands, so that a Cancel arrives while the main thread computes; the engine is
only ever called from the main thread. A cancel closes the engine's generator at its next `yield`.

When the server is gone (end of the commands) this process ends at once, also in the middle of
native code, and without any clean-up: there is nobody left to clean up for.

What this does not do: judge the native code. When that crashes, so does this process, and
`process.py` says so.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, cast

from jan_server import engines
from jan_server.engines import wire
from jan_server.engines.base import Piece
from jan_server.errors import EngineFailed, JanError
from jan_server.logs import frames

if TYPE_CHECKING:
    from collections.abc import Generator

    from jan_server.engines.base import Event, LoadedModel, ModelSpec

_READ_SIZE = 65536
GATHER_SECONDS = 0.025


class Commands:
    """The commands in order, and out of order which generations are not wanted any more."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[wire.Command] = queue.SimpleQueue()
        self._cancelled = 0
        self._closing = False

    def put(self, command: wire.Command) -> None:
        """Called by the reading thread."""
        if isinstance(command, wire.Cancel):
            self._cancelled = max(self._cancelled, command.id)
            return
        self._closing = self._closing or isinstance(command, wire.Close)
        self._queue.put(command)

    def next(self) -> wire.Command:
        return self._queue.get()

    def is_cancelled(self, id: int) -> bool:
        # Ids rise, so that a cancel that came too late for its own generation hits no later one.
        return self._closing or id <= self._cancelled


class Child:
    """Answers commands with replies until it is told to close."""

    def __init__(self, commands: Commands, send: Callable[[wire.Reply], None]) -> None:
        self._commands = commands
        self._send = send
        self._model: LoadedModel | None = None

    def run(self) -> None:
        """Raises BrokenPipeError when nobody reads the replies any more."""
        while not isinstance(command := self._commands.next(), wire.Close):
            id = command.id if isinstance(command, wire.Generate) else None
            try:
                self._answer(command)
            except BrokenPipeError:
                raise
            except JanError as error:
                self._send(wire.failed(error, id=id))
            except Exception as error:  # noqa: BLE001 - an engine may raise anything; it is told
                print(frames(error), file=sys.stderr, flush=True)
                self._send(wire.failed(EngineFailed(error), id=id))
        self._unload()

    def _answer(self, command: wire.Command) -> None:
        match command:
            case wire.Prepare(spec):
                engines.resolve(spec.engine).prepare(spec)
                self._send(wire.Prepared())
            case wire.Load(spec):
                self._load(spec)
            case wire.Generate():
                self._generate(command)

    def _load(self, spec: ModelSpec) -> None:
        self._unload()
        self._model = engines.resolve(spec.engine).load(spec)
        self._send(wire.Loaded(self._model.info))

    def _unload(self) -> None:
        model, self._model = self._model, None
        if model is not None:
            model.close()

    def _generate(self, command: wire.Generate) -> None:
        if self._model is None:
            raise EngineFailed("nothing is loaded")
        events = self._model.generate(command.request)
        with closing(cast("Generator[Event]", events)):
            for event in gathered(_until_cancelled(events, self._commands, command.id)):
                self._send(wire.Emitted(command.id, event))
        # Only now, when the generator has let go of the model, may the next request come.
        cancelled = self._commands.is_cancelled(command.id)
        self._send(wire.Cancelled(command.id) if cancelled else wire.Done(command.id))


def _until_cancelled(events: Iterator[Event], commands: Commands, id: int) -> Iterator[Event]:
    while not commands.is_cancelled(id):
        event = next(events, None)
        if event is None:
            return
        yield event


def gathered(
    events: Iterator[Event], *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Event]:
    """The same events, with pieces that come faster than a screen shows them put together.

    The first piece goes at once, and so does every piece of a model that needs GATHER_SECONDS for
    a token. Faster ones wait for the next piece after that time: each event costs
    server and client 0.4 ms of CPU time, which on two cores the model's own threads stand still.
    When the process is killed, what waits is lost with it.
    """
    held: Piece | None = None
    sent = -GATHER_SECONDS
    try:
        for event in events:
            if isinstance(event, Piece):
                held = _joined(held, event)
                if clock() - sent >= GATHER_SECONDS:
                    yield held
                    held, sent = None, clock()
                continue
            if held is not None:
                yield held
                held = None
            yield event
    except Exception:
        if held is not None:
            yield held  # What was said before it failed was said.
        raise
    if held is not None:
        yield held


def _joined(held: Piece | None, piece: Piece) -> Piece:
    if held is None:
        return piece
    return Piece(text=held.text + piece.text, tokens=held.tokens + piece.tokens)


def _read_commands(fd: int, commands: Commands) -> None:
    splitter = wire.Splitter()
    # os.read, not a buffered file: its lock, held by this thread, would abort the interpreter's
    # normal end.
    try:
        while data := os.read(fd, _READ_SIZE):
            for body in splitter.feed(data):
                commands.put(wire.decode_command(body))
    except wire.WireError as error:
        print(error, file=sys.stderr, flush=True)
    finally:
        os._exit(0)


def _write(fd: int, reply: wire.Reply) -> None:
    rest = memoryview(wire.encode(reply))
    while rest:
        rest = rest[os.write(fd, rest) :]


def _take(fd: int, instead: int) -> int:
    """Keep a standard stream for the wire alone; what uses its number gets `instead`."""
    own = os.dup(fd)
    os.dup2(instead, fd)
    return own


def main() -> None:
    # Ctrl-C goes to the whole process group. The server decides what ends, and when.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    commands_fd, replies_fd = _take(0, nothing), _take(1, sys.stderr.fileno())
    commands = Commands()
    reader = threading.Thread(target=_read_commands, args=(commands_fd, commands), daemon=True)
    reader.start()
    try:
        Child(commands, lambda reply: _write(replies_fd, reply)).run()
    except BrokenPipeError:
        pass  # the server is gone, and the reading thread is about to find out


if __name__ == "__main__":
    main()
