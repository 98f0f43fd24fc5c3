"""`trash`: what was deleted, whoever deleted it: list, restore."""

from __future__ import annotations

import click

from jan_server.cli.group import Commands, Row

COMMANDS = (
    Row("list", "Commands", "List it. What is done when none is named.", "trash.listing"),
    Row("restore", "Commands", "Put something back.", "trash.restoring"),
)


@click.group(cls=Commands, rows=COMMANDS, default="list")
def command() -> None:
    """Show what was deleted, and put it back."""
