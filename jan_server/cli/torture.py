"""`torture` in the terminal: how far it is, what was found, and one last line with the counts."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jan_server.cli.group import FAILED
from jan_server.torture import Outcome, torture
from jan_server.torture.record import Record


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=1000, help="Kills. Default: 1000.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where a new folder for it is made, for instance on the disk to try. "
    "Default: the usual temporary folder.",
)
@click.option(
    "--seed", type=int, metavar="N", help="Of the random moments; the last line names it."
)
def command(rounds: int, folder: Path | None, seed: int | None) -> None:
    """Kill a server that is written to, again and again. Exit code 1 when anything is lost.

    It has a data folder of its own, never an existing one, and is kept when something was lost.
    """
    if run(rounds, folder=folder, seed=seed).findings:
        sys.exit(FAILED)


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
