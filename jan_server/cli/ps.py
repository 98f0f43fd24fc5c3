"""`ps`: what a running server has in memory, as a table or a JSON array of what /healthz says."""

from __future__ import annotations

import click

from jan_server.cli.backend import open_backend
from jan_server.cli.options import (
    api_key_option,
    data_folder_option,
    find_settings,
    json_option,
)
from jan_server.cli.output import duration, print_json, print_table, size
from jan_server.engines.pooled import Seen

NAMES = ("ID", "STATE", "ENGINE", "DEVICE", "MEMORY", "SLOTS", "UNTIL")


@click.command()
@data_folder_option
@api_key_option
@json_option
def command(data_folder: str | None, api_key: str | None, as_json: bool) -> None:
    """Show which models the running server has in memory.

    SLOTS are the answers that a model gives at once, and how many of them are in use. UNTIL says
    when the model is unloaded if nobody uses it.

    JSON: an array of {id, state, engine, device, slots, busy, waiting, memory, expires_in}, in
    bytes and seconds; empty when nothing is loaded, or no server runs.
    """
    settings = find_settings(data_folder, api_key=api_key)
    with open_backend(settings) as backend:
        loaded = backend.loaded()
        if as_json:
            print_json(loaded)
        elif loaded:
            print_table(NAMES, [_row(seen) for seen in loaded])
        elif backend.address:
            click.echo(f"The server at {backend.address} has nothing loaded.")
        else:
            click.echo(f"No server runs on {settings.data_folder}, so nothing is loaded.")


def _row(seen: Seen) -> tuple[str, ...]:
    waiting = f", {seen.waiting} waiting" if seen.waiting else ""
    return (
        seen.id,
        seen.state,
        seen.engine,
        seen.device,
        size(seen.memory),
        f"{seen.busy} of {seen.slots}{waiting}",
        "in use or kept" if seen.expires_in is None else f"in {duration(seen.expires_in)}",
    )
