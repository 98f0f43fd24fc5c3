"""Writers that come late: what they write to a file that we have replaced meanwhile.

A program that opened a file before we gave its name to another one writes into what nobody will
read again. Today's Jan does so, which truncates and then writes; so does a `cat >>` that somebody
types into. A displaced file is therefore kept open and looked at once more: a moment later, and not
before the last program that can write to it has closed it. What has come by then is given back.

That a program has it open for writing is what refuses us a lease on it (fcntl(2), Linux, files of
our own user): such a file keeps a name as well, so that a crash leaves it there as a temporary one.
Elsewhere the moment has to do.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jan_server.errors import JanError
from jan_server.store.later import Later

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

DELAY = 0.5
"""Seconds. A program that is put off between finding a file and opening it takes milliseconds."""

MOST = 256
"""Files that are held open at once: any others are looked at without delay, and held no longer."""

GiveBack = Callable[[Path, bytes, bytes], object]
"""Of the file that took the name: what the displaced one held when it was displaced, and later."""


class _Held(NamedTuple):
    fd: int
    target: Path
    seen: bytes
    name: Path | None


class LateWriters:
    """Holds displaced files; looks at them with `later`."""

    def __init__(self, give_back: GiveBack, *, later: Later, delay: float = DELAY) -> None:
        self._give_back = give_back
        self._later = later
        self._delay = delay
        self._held: set[int] = set()
        self._end_of_waiting: float | None = None

    def __repr__(self) -> str:
        return f"<LateWriters, {len(self._held)} files are held>"

    def hold(self, fd: int, target: Path, seen: bytes, *, name: Path | None = None) -> bool:
        """Take over an open file that held `seen` when `target` took its name.

        Whether its present `name` is taken over as well, to be removed at the end.
        """
        is_named = name is not None and has_writer(fd)
        held = _Held(fd, target, seen, name if is_named else None)
        delay = 0 if len(self._held) >= MOST else self._delay
        self._held.add(fd)
        self._later.call(delay, partial(self._look, held))
        return is_named

    def afterwards(self, what: Callable[[], object]) -> None:
        """Do it after the same delay."""
        self._later.call(self._delay, what)

    def _look(self, held: _Held) -> None:
        if self._later.is_closed:
            self._wait_for_writers(held.fd)
        elif has_writer(held.fd) and len(self._held) <= MOST:
            self._later.call(self._delay, partial(self._look, held))
            return
        self._held.discard(held.fd)
        self._end(held)

    def _wait_for_writers(self, fd: int) -> None:
        """For a moment at the end, and one for all of them."""
        if self._end_of_waiting is None:
            self._end_of_waiting = time.monotonic() + self._delay
        while has_writer(fd) and time.monotonic() < self._end_of_waiting:
            time.sleep(0.01)

    def _end(self, held: _Held) -> None:
        """Give back what has come. A name stays while somebody writes, or when that fails."""
        with os.fdopen(held.fd, "rb") as file:
            try:
                file.seek(0)
                later = file.read()
                if later not in (b"", held.seen):
                    self._give_back(held.target, held.seen, later)
            except (OSError, JanError) as error:
                where = f"kept as {held.name}" if held.name else "lost"
                logger.error("what came late for %s is %s: %s", held.target, where, error)
                return
            if held.name is not None and not has_writer(held.fd):
                with contextlib.suppress(OSError):
                    os.unlink(held.name)  # noqa: PTH108


def has_writer(fd: int) -> bool:
    """Whether a program has the file open for writing. False where that is not to be known."""
    if sys.platform == "win32":
        return False
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        # Else the signal for whoever opens it this very moment would end us.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EBUSY)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
