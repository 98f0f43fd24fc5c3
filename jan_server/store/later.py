"""Doing something a moment from now, as looking again at a file that somebody is writing."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from jan_server.logs import frames

logger = logging.getLogger(__name__)


class _Call(NamedTuple):
    due: float
    number: int
    what: Callable[[], object]


class Later:
    """Makes calls when they are due, one at a time, in a thread that ends when there are none.

    What they raise is logged. A closed one makes every call at once.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self._changed = threading.Condition()
        self._calls: list[_Call] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Later, {len(self._calls)} calls>"

    def call(self, seconds: float, what: Callable[[], object]) -> None:
        """In so many seconds, and from any thread."""
        with self._changed:
            due = time.monotonic() + seconds
            heapq.heappush(self._calls, _Call(due, next(self._numbers), what))
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="later", daemon=True)
                thread.start()  # First: where there can be no more threads, another call tries.
                self._thread = thread
            self._changed.notify()

    def close(self) -> None:
        """Make all calls now, and wait for their end."""
        with self._changed:
            self.is_closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while (call := self._next()) is not None:
            try:
                call.what()
            except Exception as error:  # noqa: BLE001 - one bad call must not lose the others
                logger.error("looking again failed:\n%s", frames(error))

    def _next(self) -> _Call | None:
        with self._changed:
            while self._calls and not self.is_closed:
                wait = self._calls[0].due - time.monotonic()
                if wait <= 0:
                    break
                self._changed.wait(wait)
            if not self._calls:
                self._thread = None
                return None
            return heapq.heappop(self._calls)
