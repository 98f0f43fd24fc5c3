"""`trash restore ID`: put a deletion back, by the running server or without one."""

from __future__ import annotations

import click

from jan_server.cli.backend import open_backend
from jan_server.cli.options import api_key_option, data_folder_option, find_settings, json_option
from jan_server.cli.output import print_json
from jan_server.printable import printable


@click.command()
@click.argument("deletion", metavar="ID")
@data_folder_option
@api_key_option
@json_option
def command(deletion: str, data_folder: str | None, api_key: str | None, as_json: bool) -> None:
    """Put back what was deleted, to where it was. ID is the deletion's, as `trash` lists it.

    JSON: as POST /v1/trash/ID/restore answers.
    """
    with open_backend(find_settings(data_folder, api_key=api_key)) as backend:
        done = backend.restore(deletion)
    if as_json:
        print_json(done)
    else:
        click.echo(f"The {done.kind} {printable(done.resource_id)} is back.")
