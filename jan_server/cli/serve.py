"""`serve`: each flag is a setting of the same name."""

from __future__ import annotations

import os
from typing import Any

import click

from jan_server import logs, server, settings
from jan_server.cli.options import data_folder_option, find_folder


@click.command()
@click.option("--host", metavar="ADDRESS", help="Address to listen on. Default: 127.0.0.1.")
@click.option("--port", type=int, metavar="PORT", help="Port to listen on. Default: 1337.")
@data_folder_option
@click.option("--api-key", metavar="KEY", help="Demand this key of every request.")
@click.option("--allowed-host", multiple=True, metavar="NAME", help="A further Host name.")
@click.option("--allowed-origin", multiple=True, metavar="ORIGIN", help="A further web origin.")
@click.option("--threads", type=int, metavar="N", help="Threads of a model. Default: the cores.")
@click.option("--default-model", metavar="ID", help="Answers requests that name no model.")
@click.option("--n-parallel", type=int, metavar="N", help="Answers that a model gives at once.")
@click.option("--keep-alive", metavar="TIME", help="Unload idle models after it. Default: 15m.")
@click.option("--max-queue", type=int, metavar="N", help="Requests that wait. Default: 64.")
@click.option("--memory-budget", metavar="SIZE", help="For all models, such as 8GB.")
@click.option("--stall-patience", type=float, metavar="N", help="Seconds until a model hangs.")
@click.option("--read-only", is_flag=True, default=None, help="Never write to the data folder.")
@click.option("--import-folder", multiple=True, metavar="DIR", help="Requests may import from it.")
@click.option("--max-downloads", type=int, metavar="N", help="Downloads at once. Default: 2.")
@click.option("--trash-days", type=float, metavar="N", help="Keep deletions so long; 0 for ever.")
def command(data_folder: str | None, **flags: Any) -> None:
    """Serve the API until Ctrl-C."""
    logs.configure()
    found = find_folder(data_folder)
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    chosen = settings.resolve(found.path, os.environ, given)
    server.run(chosen, folder_reason=found.why)
