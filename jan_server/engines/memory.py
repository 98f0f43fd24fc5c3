"""How much memory there is for models: the machine's, or what its control group may take."""

from __future__ import annotations

import os
from pathlib import Path

# The rest is for the system, this server and the disk's cache.
SHARE = 0.8

# Of control groups version 2, then 1, as a container sees its own.
LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def default_budget(limits: tuple[Path, ...] = LIMITS) -> int:
    """The bytes that all models together may take when nobody says otherwise."""
    return int(SHARE * min([_of_the_machine(), *filter(None, map(_limit, limits))]))


def _of_the_machine() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _limit(path: Path) -> int | None:
    """None without such a control group, and for `max`."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
