"""The processor's cores, shared by the answers that are computed at once.

The library's threads wait for each other by spinning: more of them than cores and all stand still.
So an evaluation gets as many threads as there are cores for each answer under way, one at least;
and where there are more answers than cores, evaluations wait for one another in the order in which
they came. How many threads compute does not change what comes out.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


def share(cores: int, answers: int) -> int:
    """Threads for one evaluation, while so many answers are under way."""
    return max(1, cores // max(answers, 1))


class Cores:
    """Thread-safe. `count` is how many threads compute at once at most."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._lock = threading.Lock()
        self._answers = 0
        self._free = count
        self._waiting: deque[tuple[int, threading.Event]] = deque()

    def __repr__(self) -> str:
        return f"<Cores {self._free} of {self.count} free, {self._answers} answers>"

    @contextmanager
    def answering(self) -> Iterator[None]:
        """One answer more is under way."""
        with self._lock:
            self._answers += 1
        try:
            yield
        finally:
            with self._lock:
                self._answers -= 1

    @contextmanager
    def evaluating(self) -> Iterator[int]:
        """The number of threads to evaluate with, once so many cores are free."""
        with self._lock:
            threads = share(self.count, self._answers)
            turn = None if self._take(threads) else threading.Event()
            if turn:
                self._waiting.append((threads, turn))
        if turn:
            turn.wait()
        try:
            yield threads
        finally:
            self._give_back(threads)

    def _take(self, threads: int) -> bool:
        if self._waiting or self._free < threads:
            return False
        self._free -= threads
        return True

    def _give_back(self, threads: int) -> None:
        with self._lock:
            self._free += threads
            while self._waiting and self._waiting[0][0] <= self._free:
                wanted, turn = self._waiting.popleft()
                self._free -= wanted
                turn.set()
