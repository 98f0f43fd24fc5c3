"""`version`."""

from __future__ import annotations

import click

from jan_server import __version__


@click.command()
def command() -> None:
    """Say which version this is."""
    click.echo(__version__)
