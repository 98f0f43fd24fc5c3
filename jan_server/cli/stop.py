"""`stop ID`: unload a model from the running server."""

from __future__ import annotations

import click
import msgspec

from jan_server.cli.arguments import model_argument
from jan_server.cli.backend import open_backend
from jan_server.cli.options import (
    api_key_option,
    data_folder_option,
    find_settings,
    json_option,
)
from jan_server.cli.output import print_json
from jan_server.printable import printable


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """`was_loaded`: it was in memory, or on its way there, when it was told to go."""

    id: str
    was_loaded: bool
    server: str | None


@click.command()
@model_argument
@data_folder_option
@api_key_option
@json_option
def command(model: str, data_folder: str | None, api_key: str | None, as_json: bool) -> None:
    """Unload a MODEL from the memory of the running server.

    Answers that it still gives end with an error. The next request loads it again.

    JSON: {id, was_loaded, server}, the server null when none runs.
    """
    settings = find_settings(data_folder, api_key=api_key)
    with open_backend(settings) as backend:
        loaded = [seen.id for seen in backend.loaded()]
        id = backend.stop(model)
        address = backend.address
    was_loaded = id in loaded
    if as_json:
        print_json(Stopped(id=id, was_loaded=was_loaded, server=address or None))
    elif not address:
        click.echo(f"No server runs on {settings.data_folder}, so nothing is loaded.")
    else:
        done = "is unloaded" if was_loaded else "was not loaded"
        click.echo(f"{printable(id)} {done}.")
