"""The child's ends of its two pipes: commands in, replies out.

When the server is gone (end of the commands, or nobody reads the replies) this process ends at
once, also in the middle of native code, and without any clean-up: there is nobody left to clean up
for.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from jan_server.engines import wire

_READ_SIZE = 65536


def read_commands(fd: int, take: Callable[[wire.Command], None]) -> None:
    """Hand over each command as it comes; the process ends with the last."""
    splitter = wire.Splitter()
    # os.read, not a buffered file: its lock, held by this thread, would abort the interpreter's
    # normal end.
    try:
        while data := os.read(fd, _READ_SIZE):
            for body in splitter.feed(data):
                take(wire.decode_command(body))
    except wire.WireError as error:
        print(error, file=sys.stderr, flush=True)
    os._exit(0)


class Replies:
    """Sends whole replies, from any thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._turn = threading.Lock()

    def send(self, reply: wire.Reply) -> None:
        """Raises WireError for a reply that is too large."""
        rest = memoryview(wire.encode(reply))
        with self._turn:
            try:
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
            except OSError:
                os._exit(0)


def take_over(fd: int, instead: int) -> int:
    """Keep a standard stream for the wire alone; what uses its number gets `instead`."""
    own = os.dup(fd)
    os.dup2(instead, fd)
    return own
