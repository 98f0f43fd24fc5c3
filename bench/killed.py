"""What a thousand kills lose: `python -m jan_server torture`, its counts as figures."""

from __future__ import annotations

from bench.figure import Figure
from bench.subject import Subject
from jan_server.cli import torture
from jan_server.torture.record import Kind

ROUNDS = 1000
CLAIMS: dict[Kind, str] = {
    "lost": "acknowledged changes that were lost",
    "unreadable": "files or lines that cannot be read",
    "half-made": "half-made things that are shown",
    "unexpected": "refused requests, failed starts",
}


def measure(_: Subject) -> list[Figure]:
    outcome = torture.run(ROUNDS, folder=None, seed=None)
    return [
        Figure(name=name, value=outcome.count(kind), bound=0, detail=str(outcome))
        for kind, name in CLAIMS.items()
    ]
