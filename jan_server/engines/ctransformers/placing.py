"""Where the library's threads run: not where the one runs that makes them.

They are made anew for each evaluation and wait for one another by spinning, some hundred times a
token. One that the system puts on the core of its maker, since the others are busy for a moment
(with handing on the token before), waits there until the maker's time is up, and so in turns: an
evaluation takes 20 to 45 ms instead of 4. Two cores that serve a chat had that once in sixty
evaluations, and never while the new threads may not use the maker's core.

The library makes threads without attributes of their own, so what counts is the process's default,
which glibc lets set. Elsewhere nothing is done; nor where a sandbox lets nobody choose cores, since
there a thread that is to use some cannot be made at all, and the library aborts.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

_CORES = 1024
"""What a `cpu_set_t` holds."""
_ATTRIBUTES = 256
"""Bytes, more than a `pthread_attr_t` has on any system."""


def find_libc() -> Any | None:
    """The C library of this process, where it can do it."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    try:
        os.sched_setaffinity(0, os.sched_getaffinity(0))
    except OSError:
        return None
    libc = ctypes.CDLL(None)
    names = ("pthread_setattr_default_np", "pthread_attr_setaffinity_np", "sched_getcpu")
    return libc if all(hasattr(libc, name) for name in names) else None


_LIBC = find_libc()


def keep_off_this_core() -> None:
    """Threads that are made after this use the process's other cores, where it has any."""
    if _LIBC is not None:
        cores = os.sched_getaffinity(0)
        allow(cores - {_LIBC.sched_getcpu()} or cores)


def allow(cores: set[int]) -> None:
    """Threads that are made after this use these cores."""
    if _LIBC is None or max(cores) >= _CORES:
        return
    attributes = ctypes.create_string_buffer(_ATTRIBUTES)
    if _LIBC.pthread_attr_init(attributes):
        return
    mask = sum(1 << core for core in cores).to_bytes(_CORES // 8, "little")
    _LIBC.pthread_attr_setaffinity_np(attributes, ctypes.c_size_t(len(mask)), mask)
    _LIBC.pthread_setattr_default_np(attributes)
    _LIBC.pthread_attr_destroy(attributes)
