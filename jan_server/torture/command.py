"""`torture` in the terminal: how far it is, what was found, and one last line with the counts."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jan_server.torture import Outcome, torture
from jan_server.torture.record import Record


def run(rounds: int, *, folder: Path | None, seed: int | None) -> Outcome:
    """Shows its progress on stderr. Raises SettingsInvalid."""
    columns = (
        TextColumn("killed"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[acknowledged]:,} changes acknowledged"),
    )
    with Progress(*columns, console=Console(file=sys.stderr)) as bar:
        task = bar.add_task("", total=rounds, acknowledged=0)

        def show(done: int, record: Record) -> None:
            bar.update(task, completed=done, acknowledged=record.acknowledged.total())

        outcome = torture(rounds, folder=folder, seed=seed, on_round=show)
    for finding in outcome.findings:
        print(finding)
    if outcome.folder:
        print(f"What the server left is in {outcome.folder}")
    print(outcome)
    return outcome
