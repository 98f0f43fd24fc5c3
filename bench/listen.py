"""How long a person waits after the command: from its start to the answer of `/healthz`."""

from __future__ import annotations

from statistics import median

from bench.figure import Figure
from bench.served import jan
from bench.subject import Subject

ROUNDS = 9


def measure(subject: Subject) -> list[Figure]:
    times = [_seconds_to_listen(subject) for _ in range(ROUNDS)]
    return [
        Figure(
            name="start to listen",
            value=median(times),
            bound=0.6,
            unit=" s",
            detail=f"{min(times):.2f} to {max(times):.2f} s, {len(times)} rounds",
        )
    ]


def _seconds_to_listen(subject: Subject) -> float:
    server = jan(subject.data_folder)
    try:
        return server.wait()
    finally:
        server.close()
