"""Whether a process does anything: by what the system counts of it, since it says nothing itself.

Loading takes as long as a large file on a slow disk does, and native code tells nothing of it. But
it takes processor time, or reads.
"""

from __future__ import annotations

import time
from typing import NamedTuple

LEAST_SHARE = 0.001
"""Of one processor. Who only looks now and then whether it may go on takes less."""


class Counts(NamedTuple):
    """What a process took since it began: processor time in seconds, and bytes that it read."""

    seconds: float
    read: int


def is_work(before: Counts, now: Counts, *, elapsed: float) -> bool:
    """Whether a process did anything in those seconds."""
    return now.read > before.read or now.seconds - before.seconds > LEAST_SHARE * elapsed


class Pulse:
    """Of one process, from the first look on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._last: tuple[float, Counts] | None = None

    def __repr__(self) -> str:
        return f"<Pulse of {self._pid}>"

    def beats(self) -> bool:
        """Whether it did anything since the last look. Where nobody can tell, it is said to."""
        last, counts = self._last, count(self._pid)
        if counts is None:
            return True
        now = time.monotonic()
        self._last = now, counts
        return last is None or is_work(last[1], counts, elapsed=now - last[0])


def count(pid: int) -> Counts | None:
    """None for a process that is gone, or of which the system does not tell."""
    import psutil  # 15 ms, for loads that take long.

    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        # macOS does not count them.
        read = process.io_counters() if hasattr(process, "io_counters") else None
    except psutil.Error:
        return None
    # Linux counts apart what came from a disk, as mapped weights do, and what was read as a file.
    read_bytes = read.read_bytes + getattr(read, "read_chars", 0) if read else 0
    return Counts(times.user + times.system, read_bytes)
