"""`import FILE`: make a model of a file that lies on this machine already.

Works beside a running server, and needs none: the model's folder gets its name in one step, which
the system grants to one of those who want it, and the server's watcher sees it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import click
from msgspec import UNSET
from rich.console import Console

from jan_server import logs
from jan_server.cli.bar import bytes_bar
from jan_server.cli.options import data_folder_option, find_settings, json_option
from jan_server.cli.output import print_json, size
from jan_server.importing import check_free, import_model, select
from jan_server.importing.placing import OnProgress
from jan_server.printable import printable
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.types.importing import ImportedModel, Mode

PATH = click.Path(path_type=Path, readable=False)  # What cannot be read we say ourselves.
DONE = {"copy": "copied", "link": "linked to", "move": "moved"}


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE", type=PATH)
@click.option(
    "--name", "id", metavar="ID", help="The model's id. Default: made of the file's name."
)
@click.option("--copy", "mode", flag_value="copy", default=True, help="Copy it. The default.")
@click.option("--link", "mode", flag_value="link", help="Leave it where it is, and use it there.")
@click.option(
    "--move",
    "mode",
    flag_value="move",
    help="Copy it (or rename it, on the same disk), "
    "and remove the original when the model is there.",
)
@click.option(
    "--mmproj",
    type=PATH,
    metavar="FILE",
    help="The projector of a model that sees; it goes along.",
)
@data_folder_option
@json_option
def command(
    files: tuple[Path, ...],
    id: str | None,
    mode: str,
    mmproj: Path | None,
    as_json: bool,
    data_folder: str | None,
) -> None:
    """Make a model of a .gguf FILE. The original stays as it is, unless --move is said.

    One part of a split model stands for all of them. A folder will do when it holds one model.

    JSON: {id, mode, files: [{path, bytes, sha256}]}, and originals_left and cannot_run if any.
    """
    logs.configure()
    settings = find_settings(data_folder)
    done = import_files(files, settings, id=id, mode=cast(Mode, mode), mmproj=mmproj)
    if as_json:
        print_json(done)
    else:
        click.echo("\n".join(told(done)))


def import_files(
    paths: tuple[Path, ...],
    settings: Settings,
    *,
    id: str | None = None,
    mode: Mode = "copy",
    mmproj: Path | None = None,
) -> ImportedModel:
    """Raises as `select` and `import_model`."""
    services = Services(settings)
    services.store.check_writable()
    if id:
        check_free(services.store, id)
    files = select(paths, mmproj=mmproj)
    with _bar(printable(files.first.path.name)) as show:
        return import_model(
            services.store, services.models, files, id=id, mode=mode, on_progress=show
        )


def told(done: ImportedModel) -> Iterator[str]:
    """The lines for a person."""
    for file in done.files:
        yield f"{printable(file.path)}: {DONE[done.mode]}, {size(file.bytes)}"
    for path in [] if done.originals_left is UNSET else done.originals_left:
        yield f"{printable(path)} could not be removed, and is left"
    yield f"It is the model {done.id}."
    if done.cannot_run is not UNSET:
        yield f"It cannot run here: {printable(done.cannot_run)}"


@contextmanager
def _bar(name: str) -> Iterator[OnProgress]:
    """Shown once there is something to copy."""
    console = Console(file=sys.stderr)
    bar = bytes_bar(console, disable=not console.is_terminal)
    task = bar.add_task(name, total=None)

    def show(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()
