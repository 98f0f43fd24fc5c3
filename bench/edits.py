"""From a line that a person appends to its event in `GET /v1/events`."""

from __future__ import annotations

import random
import time
from contextlib import closing
from pathlib import Path
from statistics import quantiles

from bench.figure import Figure
from bench.folder import made, thread_id
from bench.lists import ALL, THREADS, answer
from bench.served import Server, serving
from bench.subject import Subject
from bench.watching import Unheard, Watch

NAME = f"hand edit to event among {THREADS:,} threads, p95"
BOUND = 40
EDITS = 100
APART = (0.05, 0.15)


def measure(_: Subject) -> list[Figure]:
    with made(THREADS) as folder, serving(folder) as server:
        answer(server, ALL)
        try:
            times = _times(server, folder)
        except Unheard as error:
            return [Figure(name=NAME, value=None, bound=BOUND, unit=" ms", detail=str(error))]
    cuts = quantiles(times, n=100, method="inclusive")
    return [
        Figure(
            name=NAME,
            value=cuts[94],
            bound=BOUND,
            unit=" ms",
            detail=f"p50 {cuts[49]:.1f}, slowest {max(times):.1f} ms of {len(times)} edits",
        )
    ]


def _times(server: Server, folder: Path) -> list[float]:
    """Milliseconds of each edit."""
    chance = random.Random(1)
    with closing(Watch(server.port)) as watch:
        watch.settle(lambda number: _append_line(folder, 0, f"settling-{number}"))
        return [_time(watch, folder, number, chance) for number in range(EDITS)]


def _time(watch: Watch, folder: Path, number: int, chance: random.Random) -> float:
    time.sleep(chance.uniform(*APART))
    begun = time.perf_counter()
    marker = _append_line(folder, chance.randrange(1, THREADS), f"edit-{number}")
    return 1000 * (watch.wait(marker) - begun)


def _append_line(folder: Path, thread: int, id: str) -> bytes:
    """A minimal line as a person writes it; what its event holds."""
    path = folder / "threads" / thread_id(thread) / "messages.jsonl"
    with path.open("a") as file:
        file.write(f'{{"id":"{id}","role":"user","content":"hi"}}\n')
    return f'"{id}"'.encode()
