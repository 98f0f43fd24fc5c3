"""Calls that are made a moment from now."""

from __future__ import annotations

import threading

import pytest

from jan_server.store.later import Later
from tests.store.conftest import until


def test_calls_are_made_in_the_order_in_which_they_are_due() -> None:
    later, made = Later(), []
    for seconds in (0.06, 0.02, 0.04):
        later.call(seconds, lambda seconds=seconds: made.append(seconds))  # type: ignore[misc]
    assert repr(later) == "<Later, 3 calls>"
    until(lambda: made == [0.02, 0.04, 0.06])
    later.call(0, lambda: made.append(0))
    until(lambda: made[-1] == 0)


def test_a_closed_one_makes_them_at_once() -> None:
    later, made = Later(), []
    later.call(3600, lambda: later.call(3600, lambda: made.append(1)))
    later.close()
    assert made == [1]
    later.close()


def test_without_a_thread_it_waits_for_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    later, made = Later(), []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _no_more_threads)
        with pytest.raises(RuntimeError):
            later.call(0, lambda: made.append(1))
    later.call(0.01, lambda: made.append(2))
    until(lambda: made == [1, 2])


def _no_more_threads(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_one_that_fails_is_told_and_hinders_none(caplog: pytest.LogCaptureFixture) -> None:
    later, made = Later(), []
    later.call(0, lambda: 1 / 0)
    later.call(0.01, lambda: made.append(1))
    until(lambda: made == [1])
    assert "ZeroDivisionError" in caplog.text
