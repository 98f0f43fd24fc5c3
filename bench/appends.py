"""Appended messages, each on the disk when it is answered: many threads, one client, one thread."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct

from bench.figure import Figure
from bench.folder import made, thread_id
from bench.lists import answer
from bench.served import Server, serving, serving_bare
from bench.subject import Subject
from bench.turns import Comparison, take_turns
from bench.wire import Client, post

CONNECTIONS = 16
BODY = msgspec.json.encode({"role": "user", "content": "How are you? " * 15})
FLUSHES = 200


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
        return [*_spread(loads, disk), _busy(loads, server)]


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


def _busy(loads: Loads, server: Server) -> Figure:
    """What sharing a flush brings: without it one file's appends are done one after another."""
    rate, alone = (median(round.rate for round in side.ours) for side in (loads.busy, loads.one))
    return loads.busy.rate(
        f"append, {CONNECTIONS} connections to one thread",
        bound=alone,
        detail=f"{rate / alone:.1f} × one connection's rate{_flushes(server)}",
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


def _flushes(server: Server) -> str:
    """How many flushes an append takes on the busy file, where strace can count them."""
    strace = shutil.which("strace")
    if strace is None:
        return ""
    with (
        closing(Client(server.port, [[_append(0)]] * CONNECTIONS)) as client,
        _counting(strace, server.pid) as counts,
    ):
        appends = len(client.run(1).times)
    return f"; {sum(counts) / appends:.2f} flushes an append" if counts else ""


@contextmanager
def _counting(strace: str, pid: int) -> Iterator[list[int]]:
    """A list that at the end holds how many flushes there were; empty where it is not allowed."""
    command = [strace, "-f", "-c", "-U", "calls", "-e", "trace=fsync,fdatasync", "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    counts: list[int] = []
    assert tracer.stderr is not None
    attached = "attached" in tracer.stderr.readline()
    try:
        yield counts
    finally:
        tracer.send_signal(signal.SIGINT)
        summary, _ = tracer.communicate()[1] or "", None
        numbers = [line.strip() for line in summary.splitlines() if line.strip().isdigit()]
        if attached:
            counts.extend(int(number) for number in numbers[:-1])
