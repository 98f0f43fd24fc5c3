"""What the system says when a change fails -> the JanError that a person can do something with."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from jan_server.errors import DiskFull, JanError, NotWritable, WriteFailed, WriteUncertain

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """An OSError becomes the JanError of its kind: the file is as it was."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        raise write_error(path, error) from error


@contextlib.contextmanager
def uncertain(path: Path) -> Iterator[None]:
    """After the step that cannot be undone: whether it lasts is not known."""
    try:
        yield
    except OSError as error:
        raise WriteUncertain(
            f"{shown(path)} was changed, but the disk did not confirm it ({error.strerror})."
        ) from error


def write_error(path: Path, error: OSError) -> JanError:
    """What to raise for a change of `path` that failed and left everything as it was."""
    if error.errno in _FULL:
        return DiskFull(f"{shown(path)} was not written: {error.strerror}.")
    if error.errno in _DENIED:
        return NotWritable(
            f"{shown(path)} cannot be changed: {error.strerror}. Check the folder's permissions."
        )
    if error.errno == errno.EXDEV:
        return WriteFailed(f"{shown(path)} lies on another disk than the data folder.")
    return WriteFailed(f"{shown(path)} was not changed: {error.strerror}.")


def shown(path: Path) -> str:
    """A path as people are told it: its end."""
    return "/".join(path.parts[-3:])
