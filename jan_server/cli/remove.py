"""`remove ID`: unload a model and move it to the trash, by the running server or without one."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click
from msgspec import UNSET

from jan_server.cli.arguments import model_argument
from jan_server.cli.backend import models_of, open_backend
from jan_server.cli.options import api_key_option, data_folder_option, find_settings, json_option
from jan_server.cli.output import print_json, size
from jan_server.models import KnownModel
from jan_server.printable import printable
from jan_server.types.model import DeletedModel, RemovedFile

FATES = {"trash": "in the trash", "freed": "freed", "kept": "kept"}


@click.command()
@model_argument
@click.option("--now", is_flag=True, help="Free the disk space at once: this cannot be undone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_folder_option
@api_key_option
@json_option
def command(
    model: str, now: bool, yes: bool, data_folder: str | None, api_key: str | None, as_json: bool
) -> None:
    """Unload a MODEL and move it to the trash. Answers that it still gives end with an error.

    Weights stay in the trash for 24 hours, or until their space is needed. Files that lie outside
    the model's folder are never touched.

    JSON: as DELETE /v1/models/MODEL answers.
    """
    settings = find_settings(data_folder, api_key=api_key)
    with open_backend(settings) as backend:
        # Through a pipe there is nobody to ask.
        if not yes and sys.stdin.isatty():
            _ask(models_of(settings).get(model), now=now)
        done = backend.remove(model, now=now)
    if as_json:
        print_json(done)
    else:
        click.echo("\n".join(told(done)))


def told(done: DeletedModel) -> Iterator[str]:
    """The lines for a person: each file, then what it comes to, and the way back."""
    for file in done.files:
        why = "" if file.why is UNSET else f" ({file.why})"
        yield f"{printable(file.path)}: {FATES[file.fate]}, {size(file.bytes)}{why}"
    if done.more:
        yield f"and {done.more:,} more"
    freed, trashed = _sum(done.files, "freed"), _sum(done.files, "trash")
    sums = [f"{size(freed)} freed"] if freed else []
    sums += [f"{size(trashed)} in the trash"] if trashed else []
    yield f"{printable(done.id)} is removed: {', '.join(sums) or 'nothing was freed'}."
    if trashed:
        command = f"python -m jan_server trash restore {done.deletion}"
        yield f"What is in the trash comes back with: {command}"


def _sum(files: list[RemovedFile], fate: str) -> int:
    return sum(file.bytes for file in files if file.fate == fate)


def _ask(model: KnownModel, *, now: bool) -> None:
    """Raises click.Abort for a no."""
    weighs = f", {size(model.weights.stat().st_size)}" if model.weights else ""
    how = "and free its space at once, for good" if now else "to the trash"
    click.confirm(f"Remove {printable(model.id)}{weighs} {how}?", abort=True, err=True)
