"""Where the threads run that the library makes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from jan_server.engines.ctransformers import placing

pytestmark = pytest.mark.skipif(placing.find_libc() is None, reason="only glibc can do it")

LIBC = ctypes.CDLL(None)
ROUTINE = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


def cores_of_a_new_thread() -> set[int]:
    """Made as the library makes its own: without attributes."""
    seen: list[set[int]] = []

    def run(_argument: Any) -> None:
        seen.append(os.sched_getaffinity(0))

    thread, routine = ctypes.c_ulong(), ROUTINE(run)
    assert LIBC.pthread_create(ctypes.byref(thread), None, routine, None) == 0
    assert LIBC.pthread_join(thread, None) == 0
    return seen[0]


@pytest.fixture
def allowed() -> Iterator[set[int]]:
    """The cores of this process; what new threads may use is as it was afterwards."""
    before = os.sched_getaffinity(0)
    yield before
    os.sched_setaffinity(0, before)
    placing.allow(before)


def test_new_threads_use_the_other_cores(allowed: set[int]) -> None:
    placing.keep_off_this_core()
    used = cores_of_a_new_thread()
    assert used < allowed or len(allowed) == 1
    assert len(used) == max(1, len(allowed) - 1)


def test_where_there_is_one_core_alone_they_use_it(allowed: set[int]) -> None:
    placing.keep_off_this_core()
    core = min(allowed)
    os.sched_setaffinity(0, {core})
    placing.keep_off_this_core()
    assert cores_of_a_new_thread() == {core}


def test_where_nobody_may_choose_cores_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under systemd's `SystemCallFilter=~@resources`: making a thread would fail."""

    def refuse(*_arguments: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    assert placing.find_libc() is None
    monkeypatch.delattr(os, "sched_setaffinity")
    assert placing.find_libc() is None


@pytest.mark.parametrize("lacking", ["pthread_setattr_default_np", "sched_getcpu"])
def test_a_system_without_it_is_left_alone(
    allowed: set[int], lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"pthread_setattr_default_np", "pthread_attr_setaffinity_np", "sched_getcpu"}
    there = SimpleNamespace(**dict.fromkeys(names - {lacking}))
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: there)
    assert placing.find_libc() is None
    monkeypatch.setattr(placing, "_LIBC", None)
    placing.keep_off_this_core()
    assert cores_of_a_new_thread() == allowed
