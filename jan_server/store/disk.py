"""What changes of files are made of: bytes that are written whole, flushed, and read.

Nothing here decides in which order that is done, or what it means when it fails: `replacing`,
`adding` and `files` argue that, each for its own steps. So what is raised here is OSError.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from jan_server.store.signature import Signature, signature_of
from jan_server.store.system import FOLDER, NO_WAIT, READ, WRITE_NEW, OperatingSystem, System


class Disk:
    """Makes the calls of `system`. `fsync=False` is for tests: nothing is flushed."""

    def __init__(self, *, fsync: bool = True, system: System | None = None) -> None:
        self.system = system or OperatingSystem()
        self._fsync = fsync

    def __repr__(self) -> str:
        return f"<Disk fsync={'always' if self._fsync else 'off'}>"

    def flush(self, fd: int) -> None:
        """Put on the disk what an open file holds; its name is the folder's."""
        if self._fsync:
            self.system.fsync(fd)

    def flush_folder(self, folder: Path) -> None:
        """Put on the disk which names are in a folder."""
        if not self._fsync or FOLDER is None:
            return
        fd = self.system.open(folder, READ | FOLDER)
        try:
            self.flush(fd)
        finally:
            os.close(fd)

    def write_all(self, fd: int, data: bytes) -> None:
        """In as many writes as the system takes for it."""
        rest = memoryview(data)
        while rest:
            written = self.system.write(fd, bytes(rest))
            if written == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            rest = rest[written:]

    def write_new(
        self,
        path: Path,
        data: bytes,
        mode: int,
        *,
        like: os.stat_result | None = None,
        flush: bool = True,
    ) -> Signature:
        """`like` is the file whose place it will take: its mode and owner are kept.

        Raises FileExistsError. What could not be written whole is removed.
        """
        fd = self.system.open(path, WRITE_NEW, mode)
        try:
            if like is not None:
                self._keep_mode_and_owner(fd, like)
            self.write_all(fd, data)
            if flush:
                self.flush(fd)
            return signature_of(os.fstat(fd))
        except OSError:
            self.discard(path)
            raise
        finally:
            os.close(fd)

    def discard(self, temporary: Path) -> None:
        """Remove a file of ours that is not whole, or not needed; it raises nothing."""
        # What cannot be removed is left: its name says what it is, and nothing lists it.
        with contextlib.suppress(OSError):
            self.system.unlink(temporary)

    def _keep_mode_and_owner(self, fd: int, like: os.stat_result) -> None:
        own = os.fstat(fd)
        if (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid):
            # Only root may give a file away. That the bytes are kept counts for more.
            with contextlib.suppress(PermissionError):
                os.fchown(fd, like.st_uid, like.st_gid)
        self.system.fchmod(fd, stat.S_IMODE(like.st_mode))


def read(path: Path, start: int = 0) -> tuple[bytes, Signature]:
    """The bytes from `start` on, and what the file was at that moment. Raises for a FIFO too.

    A negative `start` counts from the end, as a slice has it.
    """
    fd = os.open(path, READ | NO_WAIT)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise not_regular(path, status)
        if start:
            os.lseek(fd, start if start > 0 else max(0, status.st_size + start), os.SEEK_SET)
        return _read_all(fd, status.st_size), signature_of(status)
    finally:
        os.close(fd)


def status_of(path: Path) -> os.stat_result | None:
    """Links followed; None when nothing is there."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def mode_below(folder: Path) -> int:
    """Owner only, unless the folder itself is open to others. The umask narrows it further."""
    return 0o600 | folder_mode_below(folder) & 0o666


def folder_mode_below(folder: Path) -> int:
    """As `mode_below`, of a new folder."""
    return 0o700 | folder.stat().st_mode & 0o777


def not_regular(path: Path, status: os.stat_result | None = None) -> OSError:
    """What to raise for what is there and no file."""
    if status is not None and stat.S_ISDIR(status.st_mode):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return OSError(errno.EINVAL, "it is not a regular file", str(path))


def _read_all(fd: int, size: int) -> bytes:
    """To the end. Nearly always that is `size`: one call, since a file of 300 bytes is the rule."""
    data = os.read(fd, size + 1)
    while len(data) > size and (more := os.read(fd, size + 1)):
        data, size = data + more, len(data) + len(more)
    return data
