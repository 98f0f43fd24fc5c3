"""`models`: which there are, as a table or as a JSON array of `facts.Line`."""

from __future__ import annotations

import click

from jan_server.cli.backend import models_of, open_backend
from jan_server.cli.facts import Line, line
from jan_server.cli.options import (
    api_key_option,
    data_folder_option,
    find_settings,
    json_option,
)
from jan_server.cli.output import duration, print_json, print_table, size
from jan_server.engines.pooled import Seen

NAMES = ("ID", "SIZE", "QUANTIZATION", "ENGINE", "STATE", "LOADED")


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also those that could be downloaded.")
@data_folder_option
@api_key_option
@json_option
def command(data_folder: str | None, api_key: str | None, everything: bool, as_json: bool) -> None:
    """List the models: size, quantization, the engine that runs them, state.

    LOADED is how much memory a model takes, and for how long yet when nobody uses it. "none" in
    the place of the engine: `show ID` says why.

    JSON: an array of {id, size, quantization, engine, state, loaded, problem}, size in bytes.
    """
    settings = find_settings(data_folder, api_key=api_key)
    with open_backend(settings) as backend:
        states, loaded = backend.states(), {seen.id: seen for seen in backend.loaded()}
    models = models_of(settings)
    found = [
        line(models, model, state=states.get(model.id, model.state))
        for model in models.list(everything=everything)
    ]
    if as_json:
        print_json(found)
    elif found:
        print_table(NAMES, [_row(each, loaded.get(each.id)) for each in found])
    else:
        click.echo("No model is here. `models --all` shows what `pull` can get.")


def _row(line: Line, seen: Seen | None) -> tuple[str, ...]:
    return (
        line.id,
        size(line.size),
        line.quantization or "",
        line.engine or "none",
        line.state,
        _loaded(seen) if seen else "",
    )


def _loaded(seen: Seen) -> str:
    stays = "" if seen.expires_in is None else f", {duration(seen.expires_in)} left"
    return f"{size(seen.memory)}{stays}"
