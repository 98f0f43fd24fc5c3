"""What the number of threads costs: the start, the first whole list, and memory after it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct

from bench.figure import Figure, Ratio
from bench.folder import made
from bench.lists import ALL
from bench.served import Server, jan
from bench.subject import Subject
from bench.wire import Connection

PATIENCE = 120.0


class Size(Struct, frozen=True, kw_only=True):
    """So many threads, and their bounds: seconds, seconds, megabytes."""

    threads: int
    starts: int
    listens: float
    is_whole: float
    memory: float


SIZES = (
    Size(threads=10_000, starts=5, listens=0.7, is_whole=1, memory=80),
    Size(threads=100_000, starts=3, listens=0.9, is_whole=8, memory=260),
)


class Start(Struct, frozen=True):
    """Seconds since the process began; bytes of the server and of its child processes."""

    listens: float
    is_whole: float
    memory: int
    children: int


def measure(_: Subject) -> list[Figure]:
    return [figure for size in SIZES for figure in _measured(size)]


def _measured(size: Size) -> list[Figure]:
    with made(size.threads) as folder:
        # The peer takes its turn, and brings the files into memory first.
        turns = [(_read_all(folder), _start(folder, size)) for _ in range(size.starts)]
    starts = [start for _, start in turns]
    listens = [start.listens for start in starts]
    whole = [start.is_whole for start in starts]
    memory = [start.memory / 1e6 for start in starts]
    children = median(start.children / 1e6 for start in starts)
    return [
        _figure(f"start to listen, {size.threads:,} threads", listens, size.listens, " s"),
        _figure(
            "the same, until the list is whole",
            whole,
            size.is_whole,
            " s",
            peers=[read for read, _ in turns],
            beside="; the peer opens and reads each file, no more",
        ),
        _figure(
            "the same, memory of the server after one list",
            memory,
            size.memory,
            " MB",
            beside=f"; its child processes {children:.0f} MB",
        ),
    ]


def _figure(
    name: str,
    values: list[float],
    bound: float,
    unit: str,
    *,
    peers: Sequence[float] = (),
    beside: str = "",
) -> Figure:
    ratios = [value / peer for value, peer in zip(values, peers, strict=False)]
    return Figure(
        name=name,
        value=median(values),
        bound=bound,
        unit=unit,
        ratio=Ratio(peer=median(peers), value=median(ratios)) if peers else None,
        detail=f"{min(values):.3g} to {max(values):.3g}{unit}, {len(values)} starts{beside}",
    )


def _read_all(folder: Path) -> float:
    """Seconds that it takes to open and read every thread's file."""
    begun = time.perf_counter()
    with os.scandir(folder / "threads") as threads:
        for thread in threads:
            descriptor = os.open(f"{thread.path}/thread.json", os.O_RDONLY)
            os.read(descriptor, 1 << 16)
            os.close(descriptor)
    return time.perf_counter() - begun


def _start(folder: Path, size: Size) -> Start:
    server = jan(folder)
    try:
        listens = server.wait()
        whole = _until_whole(server, size.threads)
        own, *children = (_resident(pid) for pid in _family(server.pid))
        return Start(listens, whole, own, sum(children))
    finally:
        server.close()


def _until_whole(server: Server, threads: int) -> float:
    """Ask once, and again only while the server says that it is not ready."""
    with closing(Connection(server.port)) as connection:
        while time.perf_counter() - server.begun < PATIENCE:
            status, body = connection.ask(ALL)
            elapsed = time.perf_counter() - server.begun
            if status == 200:
                found = len(msgspec.json.decode(body, type=list[msgspec.Raw]))
                if found != threads:
                    raise RuntimeError(f"a list of {found} threads, not of {threads}")
                return elapsed
            time.sleep(0.01)
    raise TimeoutError("the list does not become whole")


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def _family(pid: int) -> list[int]:
    """The process and all that it started, as Linux lists them."""
    own = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text(encoding="ascii").split()
    ]
    return [pid, *(process for child in own for process in _family(child))]
