"""`threads`: the chats of the data folder: list, show, search.

They are read from the folder, also while a server runs on it: every read of it looks at the same
files, and nothing that only the server knows is told here.
"""

from __future__ import annotations

import click

from jan_server.cli.group import Commands, Row

COMMANDS = (
    Row(
        "list", "Commands", "List the threads. What is done when none is named.", "threads.listing"
    ),
    Row("show", "Commands", "Show the messages of a thread.", "threads.showing"),
    Row("search", "Commands", "Find a text in titles and messages.", "threads.searching"),
)


@click.group(cls=Commands, rows=COMMANDS, default="list")
def command() -> None:
    """Read the threads of the data folder."""
