"""`trash list`: a table, or the deletions as `GET /v1/trash` answers them."""

from __future__ import annotations

from datetime import datetime

import click

from jan_server import representations
from jan_server.cli.folder import open_store
from jan_server.cli.options import data_folder_option, find_settings, json_option
from jan_server.cli.output import print_json, print_table, size
from jan_server.types.trash import TrashDeletion


@click.command()
@data_folder_option
@json_option
def command(data_folder: str | None, as_json: bool) -> None:
    """List what is in the trash, the last deletion first.

    JSON: an array of deletions as in GET /v1/trash.
    """
    settings = find_settings(data_folder)
    found = [
        representations.deletion(item, trash_days=settings.trash_days)
        for item in open_store(settings).trash.list()
    ]
    if as_json:
        print_json(found)
    elif found:
        print_table(("ID", "DELETED", "SIZE", "WHAT", "FROM"), [_row(item) for item in found])
    else:
        click.echo("The trash is empty.")


def _row(item: TrashDeletion) -> tuple[str, ...]:
    deleted = f"{datetime.fromtimestamp(item.deleted_at):%Y-%m-%d %H:%M}"
    return item.id, deleted, size(item.bytes), f"{item.kind} {item.resource_id}", item.path
