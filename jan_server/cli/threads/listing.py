"""`threads list`: a table, or a JSON array of `Line`."""

from __future__ import annotations

from datetime import datetime

import click
import msgspec

from jan_server.cli.folder import open_store
from jan_server.cli.options import data_folder_option, find_settings, json_option
from jan_server.cli.output import print_json, print_table
from jan_server.store import Entry
from jan_server.store.search import newest_first, title_of


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A thread in a list. `updated_at` in seconds; `folder` is the one that a person filed it into.
    `problem` is why its document cannot be read; then nothing else is known of it."""

    id: str
    title: str
    updated_at: int | None
    folder: str | None
    problem: str | None


@click.command()
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), metavar="N", help="No more than so many."
)
@data_folder_option
@json_option
def command(data_folder: str | None, limit: int | None, as_json: bool) -> None:
    """List the threads, the one that changed last first.

    JSON: an array of {id, title, updated_at, folder, problem}, the time in seconds since 1970.
    """
    store = open_store(find_settings(data_folder))
    found = [_line(entry) for entry in newest_first(store)[:limit]]
    if as_json:
        print_json(found)
    elif found:
        print_table(("ID", "CHANGED", "TITLE"), [_row(line) for line in found], cut_last=True)
    else:
        click.echo("There are no threads.")


def _line(entry: Entry) -> Line:
    return Line(
        id=entry.id,
        title=title_of(entry),
        updated_at=int(entry.updated) or None,
        folder=entry.where.rpartition("/")[0] or None,
        problem=entry.problem or None,
    )


def _row(line: Line) -> tuple[str, ...]:
    changed = f"{datetime.fromtimestamp(line.updated_at):%Y-%m-%d %H:%M}" if line.updated_at else ""
    title = line.title or (f"broken: {line.problem}" if line.problem else "")
    return line.id, changed, f"{line.folder}/ {title}" if line.folder else title
