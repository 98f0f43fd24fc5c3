"""Appended messages, each on the disk when it is answered: many threads, one client, one thread."""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct

from bench.figure import Figure
from bench.folder import made, thread_id
from bench.lists import answer
from bench.served import PATIENCE, serving, serving_bare
from bench.subject import Subject
from bench.turns import Comparison, take_turns
from bench.wire import Client, post

CONNECTIONS = 16
BODY = msgspec.json.encode({"role": "user", "content": "How are you? " * 15})
FLUSHES = 200
TRACED_SECONDS = 2
# It stops the server at these calls only, and leaves it the child that the benchmark started.
TRACE = ("-D", "-f", "--seccomp-bpf", "-c", "-U", "calls,name", "-e", "trace=fsync,fdatasync")
CALLS = re.compile(r"(\d+) f(?:data)?sync$", re.MULTILINE)


class Loads(Struct, frozen=True):
    many: Comparison
    one: Comparison
    busy: Comparison


def measure(_: Subject) -> list[Figure]:
    with made(CONNECTIONS + 2) as folder, serving(folder) as server:
        disk = _flush_milliseconds(folder)
        with serving_bare(answer(server, _append(CONNECTIONS + 1))) as bare:
            loads = Loads(
                many=take_turns(server, bare, [[_append(n)] for n in range(CONNECTIONS)]),
                one=take_turns(server, bare, [[_append(CONNECTIONS)]]),
                busy=take_turns(server, bare, [[_append(0)]] * CONNECTIONS),
            )
    with made(1) as folder:
        return [*_spread(loads, disk), _busy(loads, _flushes(folder))]


def _spread(loads: Loads, disk: float) -> list[Figure]:
    slow, peers = loads.many.p99
    name = f"append, {CONNECTIONS} connections over {CONNECTIONS} threads"
    return [
        loads.many.rate(name, bound=1300, at_least=0.6),
        Figure(
            name="the same, p99",
            value=slow,
            bound=40,
            unit=" ms",
            detail=f"the peer's {peers:.1f} ms",
        ),
        loads.one.time(
            "append, one connection, p50",
            bound=3,
            ratio=None,
            detail=f"one write and one flush of this disk take {disk:.2f} ms",
        ),
    ]


def _busy(loads: Loads, flushes: str) -> Figure:
    """What sharing a flush brings: without it one file's appends are done one after another."""
    rate, alone = (median(round.rate for round in side.ours) for side in (loads.busy, loads.one))
    return loads.busy.rate(
        f"append, {CONNECTIONS} connections to one thread",
        bound=round(alone),
        detail=f"{rate / alone:.1f} × one connection's rate{flushes}",
    )


def _append(number: int) -> bytes:
    return post(f"/v1/threads/{thread_id(number)}/messages", BODY)


def _flush_milliseconds(folder: Path) -> float:
    """What the disk itself takes."""
    times = []
    descriptor = os.open(folder / "flushed", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    try:
        for _ in range(FLUSHES):
            begun = time.perf_counter()
            os.write(descriptor, BODY)
            os.fsync(descriptor)
            times.append(time.perf_counter() - begun)
    finally:
        os.close(descriptor)
    return 1000 * median(times)


def _flushes(folder: Path) -> str:
    """How many flushes an append takes on the busy file, where strace can count them."""
    strace = shutil.which("strace")
    if strace is None:
        return ""
    summary = folder / "calls"
    with (
        serving(folder, under=[strace, *TRACE, "-o", str(summary)]) as server,
        closing(Client(server.port, [[_append(0)]] * CONNECTIONS)) as client,
    ):
        appends = len(client.run(TRACED_SECONDS).times)
    return f"; {_count(summary) / appends:.2f} flushes an append"


def _count(summary: Path) -> int:
    """The sum of what strace counted, which it writes soon after the server has ended."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = CALLS.findall(summary.read_text(encoding="ascii"))
        if found:
            return sum(map(int, found))
        time.sleep(0.01)
    raise TimeoutError("strace does not say what it counted")
