"""What a text costs to find in all chats: `threads search`, the whole command, against grep."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from bench.figure import Figure, Ratio
from bench.folder import add_messages, made, thread_id
from bench.subject import Subject

THREADS = 10_000
MESSAGES = 20
ROUNDS = 5
RATIO = 6
"""Python starts, lists and sorts the threads; grep only reads."""

NOWHERE = "no such words"
EVERYWHERE = "xxx"


def measure(_: Subject) -> list[Figure]:
    with made(THREADS) as folder:
        for number in range(THREADS):
            add_messages(folder, thread_id(number), count=MESSAGES)
        turns = [(_grep(folder), _whole(folder), _first(folder)) for _ in range(ROUNDS)]
    grep, whole, first = ([turn[side] for turn in turns] for side in range(3))
    name = f"search in {THREADS:,} threads of {MESSAGES} messages"
    return [
        _figure(f"{name}, nothing found", whole, grep, bound=3),
        _figure(f"{name}, until the first hit", first, grep, bound=2),
    ]


def _figure(name: str, ours: list[float], grep: list[float], *, bound: float) -> Figure:
    ratio = median(mine / peer for mine, peer in zip(ours, grep, strict=True))
    return Figure(
        name=name,
        value=median(ours),
        bound=bound,
        unit=" s",
        ratio=Ratio(peer=median(grep), value=ratio, bound=RATIO),
        detail=f"{min(ours):.2f} to {max(ours):.2f} s, {ROUNDS} rounds; the peer is grep -riF",
    )


def _whole(folder: Path) -> float:
    begun = time.perf_counter()
    subprocess.run([*_command(NOWHERE), str(folder)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def _first(folder: Path) -> float:
    begun = time.perf_counter()
    with subprocess.Popen([*_command(EVERYWHERE), str(folder)], stdout=subprocess.PIPE) as search:
        assert search.stdout
        assert search.stdout.readline()
        taken = time.perf_counter() - begun
        search.kill()
    return taken


def _grep(folder: Path) -> float:
    begun = time.perf_counter()
    subprocess.run(["grep", "-riF", NOWHERE, str(folder / "threads")], stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def _command(text: str) -> list[str]:
    return [sys.executable, "-m", "jan_server", "threads", "search", text, "--data-folder"]
