"""Whether a file is as it was: by what one `stat` says of it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

TICK = 0.05
"""Seconds. Two writes within one tick of the file system's clock can leave the same mtime."""

COARSE_TICK = 2.05


class Signature(NamedTuple):
    """What changes when a file does."""

    mtime_ns: int
    size: int
    inode: int

    def is_settled(self, now: float) -> bool:
        """Whether bytes read at `now` are what this signature will stand for ever after.

        A file younger than the clock's tick can change again and keep its mtime. A whole second
        is taken for the mark of a file system that counts in seconds, or in two, as FAT does.
        """
        tick = TICK if self.mtime_ns % 1_000_000_000 else COARSE_TICK
        return now - self.mtime_ns / 1e9 > tick


def signature_of(status: os.stat_result) -> Signature:
    return Signature(status.st_mtime_ns, status.st_size, status.st_ino)


def signature_at(path: str | Path) -> Signature | None:
    """What is there now, links followed; None when nothing is that can be looked at."""
    try:
        return signature_of(os.stat(path))  # noqa: PTH116  # The hot path: no Path is made of it.
    except OSError:
        return None


def now() -> float:
    """The clock that files' times are compared with."""
    return time.time()
