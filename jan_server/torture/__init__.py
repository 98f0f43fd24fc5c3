"""`torture`: does anything that was acknowledged get lost when the server is killed?

Again and again a real server is started on a folder of its own, several clients change things
there, and at a random moment the server is killed (SIGKILL). Then the disk is read and compared
with what the clients were told: what was answered with a 200 is there, what was not answered is
there whole or not at all, every file can be read, and the next server lists just that.

What it does not prove: that anything was flushed. A killed process leaves the system's cache as it
was, so a server without one fsync would pass. That the bytes reach the disk before the answer is
shown by the tests that trace the system calls of a real server (write, flush, replace, flush of the
folder, only then the response), and by those in which a double of the file layer forgets what was
not flushed.

The clients and the judge know the API and the folder as any other program does: nothing of the
store is used here, which could have the same fault.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from jan_server.errors import SettingsInvalid
from jan_server.torture import judge
from jan_server.torture.client import run_clients
from jan_server.torture.record import KINDS, Finding, Kind, Record
from jan_server.torture.victim import Victim, VictimFailed

CLIENTS = 6
LONGEST = 0.35
"""Seconds that a server works at most before it is killed."""
START_SECONDS = 0.25
STARTS = 10
"""Of so many rounds one kills the server while it starts."""


class Outcome(Struct, kw_only=True, frozen=True):
    """`findings` are what must not be, in words; `folder` is there when there are some."""

    rounds: int
    seed: int
    acknowledged: dict[str, int]
    findings: list[Finding]
    folder: Path | None = None

    def count(self, kind: Kind) -> int:
        return sum(finding.kind == kind for finding in self.findings)

    def __str__(self) -> str:
        changes = ", ".join(f"{count:,} × {name}" for name, count in self.acknowledged.items())
        found = ", ".join(f"{self.count(kind)} {kind}" for kind in KINDS)
        total = sum(self.acknowledged.values())
        return (
            f"{self.rounds:,} kills, {total:,} changes acknowledged ({changes}): {found} "
            f"(seed {self.seed})"
        )


def torture(
    rounds: int,
    *,
    folder: Path | None = None,
    seed: int | None = None,
    on_round: Callable[[int, Record], None] = lambda _number, _record: None,
) -> Outcome:
    """Kill a server so many times, in a new folder below `folder` or the usual temporary one.

    Ends early when something was found, and keeps the new folder then. `on_round` is told after
    each round. Raises SettingsInvalid for a folder in which nothing may be made.
    """
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    place = _new_folder(folder)
    record = Record()
    chance = random.Random(seed)
    findings: list[Finding] = []
    done = 0
    while done < rounds and not findings:
        findings = _round(place, record, chance, number=done)
        done += 1
        on_round(done, record)
    findings = findings or _final(place, record)
    if not findings:
        shutil.rmtree(place)
    return Outcome(
        rounds=done,
        seed=seed,
        acknowledged=dict(sorted(record.acknowledged.items())),
        findings=findings,
        folder=place if findings else None,
    )


def _round(place: Path, record: Record, chance: random.Random, *, number: int) -> list[Finding]:
    data = place / "data"
    if number % STARTS == STARTS - 1:
        with Victim(place) as victim:
            victim.kill_after(chance.uniform(0, START_SECONDS))
    with Victim(place) as victim:
        try:
            port = victim.wait()
        except VictimFailed as error:
            return [Finding("unexpected", str(error))]
        findings = judge.check_api(data, record, port)
        record.begin_round()
        with run_clients(CLIENTS, port, record, seed=chance.random()):
            victim.kill_after(chance.uniform(0.01, LONGEST))
    return [*findings, *record.unexpected, *judge.check_disk(data, record)]


def _final(place: Path, record: Record) -> list[Finding]:
    """Everything that was ever made, and what one more server says of it."""
    record.touch_all()
    findings = judge.check_disk(place / "data", record)
    with Victim(place) as victim:
        findings += judge.check_api(place / "data", record, victim.wait())
    return findings


def _new_folder(below: Path | None) -> Path:
    if below is not None:
        _refuse_data_folder(below)
        below.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="jan-torture-", dir=below))
    (place / "data").mkdir()
    return place


def _refuse_data_folder(folder: Path) -> None:
    """Somebody's chats are no place for this, nor for what it leaves when it finds something."""
    resolved = Path(os.path.realpath(folder))
    for place in (resolved, *resolved.parents):
        if (place / ".jan_server").is_dir() or (place / "threads").is_dir():
            raise SettingsInvalid(f"{place} is a data folder: name another --folder.")
