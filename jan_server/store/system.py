"""The calls of the operating system that change something, and which of them this system has.

`replacing`, `adding` and `files` argue in which order they are made; tests replace them by ones
that fail or forget.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

if sys.platform != "win32":
    import fcntl

# Flags that Windows lacks mean nothing there, and O_BINARY means nothing elsewhere.
READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
READ_AND_WRITE = READ | os.O_RDWR
WRITE_NEW = READ | os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
OPEN_OR_MAKE = READ_AND_WRITE | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
NO_WAIT = getattr(os, "O_NONBLOCK", 0)
"""Opening a FIFO that nobody has open at the other end would wait for ever."""

FOLDER: int | None = getattr(os, "O_DIRECTORY", None)
"""None: folders cannot be opened here, and their entries are flushed by the system alone."""

_HERE = -100  # AT_FDCWD of <fcntl.h>: paths are the process's own.
_EXCHANGE = 2  # RENAME_EXCHANGE of <linux/fs.h>, and RENAME_SWAP of macOS's <stdio.h>.
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}


class CannotExchange(OSError):
    """This system, or this file system, has no rename that exchanges two names."""


class System(Protocol):
    """What of `os` changes something; `exchange` lets two names change places in one step."""

    def open(self, path: Path, flags: int, mode: int = ...) -> int: ...
    def write(self, fd: int, data: bytes, /) -> int: ...
    def fsync(self, fd: int) -> None: ...
    def ftruncate(self, fd: int, length: int, /) -> None: ...
    def fchmod(self, fd: int, mode: int) -> None: ...
    def replace(self, src: Path, dst: Path) -> None: ...
    def exchange(self, one: Path, other: Path) -> None: ...
    def rename(self, src: Path, dst: Path) -> None: ...
    def mkdir(self, path: Path, mode: int = ...) -> None: ...
    def unlink(self, path: Path) -> None: ...
    def link(self, src: Path, dst: Path) -> None: ...


def exchange(one: Path, other: Path) -> None:
    """Let two names change places. Raises CannotExchange, and OSError as `os.rename` does."""
    if _exchanging is None:
        raise CannotExchange(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _exchanging(os.fsencode(one), os.fsencode(other)) != 0:
        code = ctypes.get_errno()
        kind = CannotExchange if code in _UNSUPPORTED else OSError
        raise kind(code, os.strerror(code), str(one), None, str(other))


def _exchanging_rename(library: Any) -> Callable[[bytes, bytes], int] | None:
    """The C library's own: Linux has renameat2 (glibc 2.28, musl 1.2.6), macOS renamex_np."""
    if hasattr(library, "renameat2"):
        return lambda one, other: int(library.renameat2(_HERE, one, _HERE, other, _EXCHANGE))
    if hasattr(library, "renamex_np"):
        return lambda one, other: int(library.renamex_np(one, other, _EXCHANGE))
    return None


def _full_fsync(fd: int) -> None:
    """macOS: fsync alone leaves the bytes in the drive's cache."""
    try:
        fcntl.fcntl(fd, getattr(fcntl, "F_FULLFSYNC", 51))
    except OSError:  # Network file systems do not know it; SQLite does the same.
        os.fsync(fd)


def _no_mode(_fd: int, _mode: int) -> None:
    """Windows before Python 3.13: who may read a file is not in a mode there."""


class OperatingSystem:
    """The real one."""

    open = staticmethod(os.open)
    write = staticmethod(os.write)
    fsync = staticmethod(_full_fsync if sys.platform == "darwin" else os.fsync)
    ftruncate = staticmethod(os.ftruncate)
    fchmod = staticmethod(getattr(os, "fchmod", _no_mode))
    replace = staticmethod(os.replace)
    exchange = staticmethod(exchange)
    rename = staticmethod(os.rename)
    mkdir = staticmethod(os.mkdir)
    unlink = staticmethod(os.unlink)
    link = staticmethod(os.link)


# ctypes lets other threads run during the call.
_exchanging = (
    None if sys.platform == "win32" else _exchanging_rename(ctypes.CDLL(None, use_errno=True))
)
