"""The process that an engine runs in: `python -m jan_server.engines.child`.

A thread reads commands (`pipes.py`), so that a Cancel arrives whatever else goes on; this thread
prepares, loads and closes; what a loaded model is asked for, its own threads do (`serving.py`). A
cancel closes the engine's generator at its next `yield`.

What this does not do: judge the native code. When that crashes, so does this process, and
`process.py` says so.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING

from jan_server import engines
from jan_server.engines import threads, wire
from jan_server.engines.pipes import Replies, read_commands, take_over
from jan_server.engines.serving import Serving, failure
from jan_server.errors import EngineFailed

if TYPE_CHECKING:
    from jan_server.engines.base import ModelSpec


class Child:
    """Does what commands say until it is told to close."""

    def __init__(self, send: Callable[[wire.Reply], None]) -> None:
        self._send = send
        self._commands: SimpleQueue[wire.Command] = SimpleQueue()
        self._serving: Serving | None = None

    def put(self, command: wire.Command) -> None:
        """Called by the reading thread."""
        serving = self._serving
        match command:
            case wire.Prepare() | wire.Load() | wire.Close():
                self._commands.put(command)
            case wire.Cancel(id):
                if serving is not None:
                    serving.cancel(id)
            case _ if serving is None:
                self._send(failure(EngineFailed("nothing is loaded"), id=command.id))
            case _:
                serving.put(command)

    def run(self) -> None:
        while not isinstance(command := self._commands.get(), wire.Close):
            try:
                self._do(command)
            except Exception as error:  # noqa: BLE001 - an engine may raise anything; it is told
                self._send(failure(error))
        self._unload()

    def _do(self, command: wire.Command) -> None:
        match command:
            case wire.Prepare(spec):
                engines.resolve(spec.engine).prepare(spec)
                self._send(wire.Prepared())
            case wire.Load(spec):
                self._load(spec)

    def _load(self, spec: ModelSpec) -> None:
        self._unload()
        model = engines.resolve(spec.engine).load(spec)
        self._serving = Serving(model, self._send)
        self._send(wire.Loaded(model.info))

    def _unload(self) -> None:
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.close()


def main() -> None:
    # Ctrl-C goes to the whole process group. The server decides what ends, and when.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    commands_fd, replies_fd = take_over(0, nothing), take_over(1, sys.stderr.fileno())
    child = Child(Replies(replies_fd).send)
    threads.start("read", read_commands, commands_fd, child.put)
    child.run()


if __name__ == "__main__":
    main()
