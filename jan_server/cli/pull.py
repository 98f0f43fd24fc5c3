"""`pull MODEL`: get a model in the terminal, and make it ready to run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from msgspec import Struct
from rich.console import Console
from rich.markup import escape

from jan_server import logs
from jan_server.cli.arguments import model_argument
from jan_server.cli.bar import bytes_bar
from jan_server.cli.options import data_folder_option, find_settings, json_option
from jan_server.cli.output import print_json
from jan_server.downloads import DownloadProgress, Order
from jan_server.engines.base import ModelSpec
from jan_server.engines.process import EngineProcess
from jan_server.services import Services
from jan_server.settings import Settings


@click.command()
@model_argument
@data_folder_option
@json_option
def command(model: str, data_folder: str | None, as_json: bool) -> None:
    """Get a MODEL, check it and make it ready to run.

    MODEL is an id or a shorter name of the catalogue or the data folder, or what the hub has:
    ORG/REPO, ORG/REPO:Q4_K_M, ORG/REPO:FILE, or the address of a page or a file there. Any other
    https address needs #sha256=... behind it. Ctrl-C keeps what is there: the same command goes on
    with it.

    JSON: {id, weights: PATH, got}, where weights are null for a model that has none here, and got
    is whether anything was still to be got. Progress goes to stderr.
    """
    logs.configure()
    pulled = pull(model, find_settings(data_folder))
    if as_json:
        print_json(pulled)


class Pulled(Struct, kw_only=True, frozen=True):
    id: str
    weights: str | None
    got: bool


def pull(name: str, settings: Settings) -> Pulled:
    """Raises as Getting.find and Getting.get, and ModelCannotRun."""
    services = Services(settings)
    console = Console(file=sys.stderr)
    wanted = services.getting.find(name)
    id = wanted.id
    if wanted.known and wanted.known.remote:
        services.models.ready(id)
        _say(console, f"{id} needs no file: {services.models.describe(wanted.known)} answers it.")
        return Pulled(id=id, weights=None, got=False)
    if wanted.order is None:
        weights = services.models.ready(id).weights
        where = f": {weights}" if weights else ", without weights of its own"
        _say(console, f"{id} is here already{where}")
    else:
        _say(console, f"Getting {id} from {wanted.order.sources[0].url}")
        _get(services, wanted.order, console)
        _say(console, f"{id} is here, whole and verified: {services.models.ready(id).weights}")
    ready = services.models.ready(id)
    with console.status(escape(f"Making {id} ready to run")):
        asyncio.run(_prepare(services.models.spec(ready)))
    _say(console, f"{id} is ready.")
    path = str(ready.weights) if ready.weights else None
    return Pulled(id=id, weights=path, got=wanted.order is not None)


def _get(services: Services, order: Order, console: Console) -> None:
    try:
        with _bar(console) as show:
            services.getting.get(order, show)
    except KeyboardInterrupt:
        _say(console, "Stopped. What is there is kept: the same command goes on with it.")
        raise


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
    with bytes_bar(console) as bar:
        task = bar.add_task("", total=None)
        phase = ""

        def show(progress: DownloadProgress) -> None:
            nonlocal phase
            if progress.phase != phase:  # What is there already is not of the speed.
                phase = progress.phase
                bar.reset(task, completed=progress.bytes_done, total=progress.bytes_total)
            bar.update(
                task,
                description=progress.phase,
                completed=progress.bytes_done,
                total=progress.bytes_total,
            )

        yield show
