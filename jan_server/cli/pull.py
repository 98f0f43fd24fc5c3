"""`pull MODEL`: get a model of the catalogue in the terminal, and make it ready to run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from jan_server import logs
from jan_server.cli.options import data_folder_option, find_settings
from jan_server.downloads import DownloadProgress
from jan_server.engines.base import ModelSpec
from jan_server.engines.process import EngineProcess
from jan_server.services import Services
from jan_server.settings import Settings


@click.command()
@click.argument("model")
@data_folder_option
def command(model: str, data_folder: str | None) -> None:
    """Get a MODEL of the catalogue, check it and make it ready to run."""
    logs.configure()
    pull(model, find_settings(data_folder))


def pull(id: str, settings: Settings) -> None:
    """Raises NotFound for an unknown model, ReadOnly, DownloadFailed, DiskFull, ModelCannotRun."""
    services = Services(settings)
    services.store.check_writable()
    console = Console(file=sys.stderr)
    model = services.models.get(id)
    id = model.id  # What was asked for may be a shorter name of it.
    if model.remote:
        services.models.ready(id)
        _say(console, f"{id} needs no file: {services.models.describe(model)} answers it.")
        return
    if model.answers:
        where = f": {model.weights}" if model.weights else ", without weights of its own"
        _say(console, f"{id} is here already{where}")
    else:
        _say(console, f"Getting {id} from {services.models.address(model)}")
        with _bar(console) as show:
            services.downloads.get(services.models.order(model), show)
        model = services.models.ready(id)
        _say(console, f"{id} is here, whole and verified: {model.weights}")
    with console.status(escape(f"Making {id} ready to run")):
        asyncio.run(_prepare(services.models.spec(model)))
    _say(console, f"{id} is ready.")


def _say(console: Console, line: str) -> None:
    """One line whatever its length, its brackets no markup: paths are to be copied."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


async def _prepare(spec: ModelSpec) -> None:
    """In a process of its own, as when it is loaded: this one stays safe from bad files."""
    process = await EngineProcess.start(spec)
    try:
        await process.prepare()
    finally:
        await process.close()


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[DownloadProgress], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None)

        def show(progress: DownloadProgress) -> None:
            bar.update(
                task,
                description=progress.phase,
                completed=progress.bytes_done,
                total=progress.bytes_total,
            )

        yield show
