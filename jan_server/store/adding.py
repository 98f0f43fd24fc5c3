"""Adding lines to a file that others add to, rename and replace at the same moment.

The file's name is flushed first, unless that was done before: no power cut leaves lines that were
answered without a name that leads to them. Then all lines of a call are one write, at the end as
that is by then, so that no other program's line comes between them. They are flushed, and only
after that is it looked which file has the name now: what was renamed over ours lacks them.

A write that failed is cut back, so that what is asked for again is not there twice; but only when
the file is exactly what it was and a part of ours. Nobody else's bytes are cut off.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from jan_server.errors import WriteUncertain
from jan_server.store.disk import Disk, mode_below, not_regular, read, status_of
from jan_server.store.failures import translated
from jan_server.store.signature import TICK, Signature, now, signature_of
from jan_server.store.system import NO_WAIT, READ_AND_WRITE

_MAX_NAMED = 10_000


class Added(NamedTuple):
    """Lines that were written behind a file."""

    path: Path
    fd: int
    flush_or_cut_back: Callable[[], Signature]

    def flush(self) -> Signature:
        """Put them on the disk; what the file is then. From any thread, once."""
        with translated(self.path):
            return self.flush_or_cut_back()


class Adding:
    """What Files does to files that grow by lines. It remembers which names are flushed."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._named: dict[Path, int] = {}

    def __repr__(self) -> str:
        return f"<Adding, {len(self._named)} names are flushed>"

    def append(self, path: Path, data: bytes) -> Signature:
        """As Files.append."""
        with self.appended(path, data) as added:
            return added.flush()

    @contextlib.contextmanager
    def appended(self, path: Path, data: bytes) -> Iterator[Added]:
        """As Files.appended."""
        with translated(path):
            fd = self._open_to_append(path)
        try:
            with translated(path):
                self._flush_name(path, fd)
                added = self._append(path, fd, data)
            yield added
        finally:
            os.close(fd)

    def _open_to_append(self, path: Path) -> int:
        # O_APPEND: the system puts the bytes at the end as it is then, whoever else appends.
        flags = READ_AND_WRITE | os.O_APPEND | NO_WAIT
        try:
            return self._disk.system.open(path, flags)
        except FileNotFoundError:
            return self._disk.system.open(path, flags | os.O_CREAT, mode_below(path.parent))

    def _flush_name(self, path: Path, fd: int) -> None:
        """Before the first bytes: lines last no longer than the name that leads to them.

        Another program may have made the file, or given it this name, and flushed nothing; so may
        one of us that was killed. What is known to be flushed is remembered.
        """
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise not_regular(path)
        if self._named.get(path) == status.st_ino:
            return
        self._disk.flush_folder(path.parent)
        if len(self._named) >= _MAX_NAMED:
            self._named.clear()
        self._named[path] = status.st_ino

    def _append(self, path: Path, fd: int, data: bytes) -> Added:
        lines = data
        size, ends_line = _end(fd)
        if not ends_line:
            data = b"\n" + data
        try:
            if self._disk.system.write(fd, data) != len(data):
                # Never a second write: another process's line could come between the halves.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._cut_back(fd, size, data, because=error)
            raise

        def flush() -> Signature:
            try:
                self._disk.flush(fd)
            except OSError as error:
                self._cut_back(fd, size, data, because=error)
                raise
            return self._under_its_name(path, fd, lines)

        return Added(path, fd, flush)

    def _under_its_name(self, path: Path, fd: int, lines: bytes) -> Signature:
        """What the file is that has the name now; lines that it does not hold are added to it.

        Race: `sed -i`, git and others read a file and rename what they made of it over that. What
        was added in between went into a file without a name.
        """
        ours, there = os.fstat(fd), status_of(path)
        is_moved = there is None and ours.st_nlink > 0  # With its folder: our lines are in it.
        if is_moved or (there is not None and os.path.samestat(ours, there)):
            return signature_of(ours)
        if there is None or lines not in read(path)[0]:
            return self.append(path, lines)
        fd = self._disk.system.open(path, READ_AND_WRITE | NO_WAIT)
        try:
            self._disk.flush(fd)
            return signature_of(os.fstat(fd))
        finally:
            os.close(fd)

    def _cut_back(self, fd: int, size: int, data: bytes, *, because: OSError) -> None:
        """Take back what a failed append left. Raises WriteUncertain when that cannot be done."""
        try:
            tail = os.pread(fd, len(data) + 1, size)
            if not data.startswith(tail) or os.fstat(fd).st_size > size + len(data):
                raise OSError(errno.EBUSY, "another process wrote to it meanwhile")
            if tail:
                # Race: a line that another process adds right here would be cut off. The lock
                # between processes is what closes this gap for our own kind.
                self._disk.system.ftruncate(fd, size)
            self._disk.flush(fd)
        except OSError as error:
            raise WriteUncertain(
                f"A write failed ({because.strerror}) and could not be taken back "
                f"({error.strerror}). Read the messages before you repeat the request."
            ) from because


def _end(fd: int) -> tuple[int, bool]:
    """Of how many bytes it is, and whether another line can begin there.

    Race: what another program writes comes to be seen page by page, and a line seen so must not be
    ended for it: today's Jan shows nothing of a thread with a blank line.
    """
    deadline = time.monotonic() + 4 * TICK
    while True:
        status = os.fstat(fd)
        ends_line = not status.st_size or os.pread(fd, 1, status.st_size - 1) == b"\n"
        is_old = now() - status.st_mtime > TICK or time.monotonic() > deadline
        if ends_line or is_old:
            return status.st_size, ends_line
        time.sleep(TICK / 10)
