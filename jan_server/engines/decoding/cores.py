"""The processor's cores, shared by the answers that are computed at once.

The library's threads wait for each other by spinning: more of them than cores and all stand still.
So an evaluation gets as many threads as there are cores for each answer under way, one at least;
and where there are more answers than cores, evaluations wait for one another in the order in which
they came. (What other programs take of the cores is `pace.py`'s concern.) How many threads compute
does not change what comes out of ctransformers, and changes llama.cpp's logits a little.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from jan_server.engines.decoding.pace import Pace


class _Counts(NamedTuple):
    """What time it is; the seconds of one core that evaluations were given, and those that this
    process used, which does little else."""

    now: float
    given: float
    used: float


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
        self._given = 0.0
        self._counted = time.monotonic()
        self._pace = Pace()
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
    def evaluating(self, tokens: int = 1, kind: Hashable = None) -> Iterator[int]:
        """The number of threads to evaluate so many tokens with, once so many cores are free.

        `kind` is of evaluations that take as long for each token, or half as long; None tells
        nothing of how fast this machine is.
        """
        with self._lock:
            wanted = share(self.count, self._answers)
            threads = self._pace.limit(wanted, now=time.monotonic())
            turn = None if self._take(threads) else threading.Event()
            if turn:
                self._waiting.append((threads, turn))
        if turn:
            turn.wait()
        with self._lock:
            begun = self._count()
        try:
            yield threads
        finally:
            with self._lock:
                ended = self._count()
                self._give_back(threads)
        if kind is not None:
            with self._lock:
                self._compare(begun, ended, threads, wanted, tokens=tokens, kind=kind)

    def _compare(
        self, begun: _Counts, ended: _Counts, threads: int, wanted: int, **alike: Any
    ) -> None:
        seconds, given, used = (end - begin for begin, end in zip(begun, ended, strict=True))
        if threads < wanted:
            self._pace.took_half(seconds, now=ended.now, **alike)
        elif threads > 1 and given:
            share = min(used / given, 1.0)
            self._pace.took_all(seconds, share=share, now=ended.now, **alike)

    def _count(self) -> _Counts:
        now = time.monotonic()
        self._given += (self.count - self._free) * (now - self._counted)
        self._counted = now
        return _Counts(now, self._given, time.process_time())

    def _take(self, threads: int) -> bool:
        if self._waiting or self._free < threads:
            return False
        self._count()
        self._free -= threads
        return True

    def _give_back(self, threads: int) -> None:
        self._free += threads
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, turn = self._waiting.popleft()
            self._free -= wanted
            turn.set()
