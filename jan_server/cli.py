"""The command line: `python -m jan_server [serve]`, `pull MODEL`, `doctor`, `version`.

Also installed as `jan-server`. Exit codes: 0 fine, 1 the command failed or found problems, 2 wrong
usage, broken settings or cannot start.
What a command does not need it does not import: serving must start fast.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from jan_server import __version__, data_folder, logs, settings
from jan_server.errors import JanError, SettingsInvalid

P = ParamSpec("P")
T = TypeVar("T")
CANNOT_START = 2
FAILED = 1


class DefaultsToServe(click.Group):
    """`python -m jan_server --port 8080` means `serve --port 8080`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ("--help", "--version")):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


@click.group(cls=DefaultsToServe)
@click.version_option(__version__, prog_name="jan_server")
def main() -> None:
    """A local server for Jan's and OpenAI's API over plain files. Without a command it serves."""


def _fails_in_one_line(command: Callable[P, T]) -> Callable[P, T]:
    """Errors that a person can mend are one line on stderr and an exit code, not a traceback."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except JanError as error:
            click.echo(f"jan_server: {error.message}", err=True)
            sys.exit(CANNOT_START if isinstance(error, SettingsInvalid) else FAILED)

    return run


def _data_folder_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--data-folder",
        type=str,
        metavar="DIR",
        help="The Jan data folder. Default: JAN_DATA_FOLDER, Jan's own setting, "
        "an existing Jan folder, else ~/jan.",
    )(command)


def _find_folder(flag: str | None) -> data_folder.DataFolder:
    return data_folder.find(flag, os.environ, data_folder.Places.of_this_user())


@main.command()
@click.option("--host", metavar="ADDRESS", help="Address to listen on. Default: 127.0.0.1.")
@click.option("--port", type=int, metavar="PORT", help="Port to listen on. Default: 1337.")
@_data_folder_option
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
@click.option("--trash-days", type=float, metavar="N", help="Keep deletions so long; 0 for ever.")
@_fails_in_one_line
def serve(data_folder: str | None, **flags: Any) -> None:
    """Serve the API until Ctrl-C."""
    from jan_server import server

    logs.configure()
    found = _find_folder(data_folder)
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    chosen = settings.resolve(found.path, os.environ, given)
    server.run(chosen, folder_reason=found.why)


@main.command()
@click.argument("model")
@_data_folder_option
@_fails_in_one_line
def pull(model: str, data_folder: str | None) -> None:
    """Get a MODEL of the catalogue, check it and make it ready to run."""
    from jan_server import pull as pulling

    logs.configure()
    found = _find_folder(data_folder)
    pulling.pull(model, settings.resolve(found.path, os.environ))


@main.command()
@_data_folder_option
@click.option("--fix", is_flag=True, help="Mend what can be mended; copies go to the trash.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_fails_in_one_line
def doctor(data_folder: str | None, fix: bool, as_json: bool) -> None:
    """Say what is wrong in the data folder. Exit code 1 when something is."""
    from jan_server import doctor as examining

    logs.configure()
    found = _find_folder(data_folder)
    chosen = settings.resolve(found.path, os.environ)
    if not examining.examine(chosen, fix=fix, as_json=as_json):
        sys.exit(FAILED)


@main.command()
@click.option("--rounds", type=click.IntRange(min=1), default=1000, help="Kills. Default: 1000.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where a new folder for it is made, for instance on the disk to try. "
    "Default: the usual temporary folder.",
)
@click.option(
    "--seed", type=int, metavar="N", help="Of the random moments; the last line names it."
)
@_fails_in_one_line
def torture(rounds: int, folder: Path | None, seed: int | None) -> None:
    """Kill a server that is written to, again and again. Exit code 1 when anything is lost.

    It has a data folder of its own, never an existing one, and is kept when something was lost.
    """
    from jan_server.torture import command

    if command.run(rounds, folder=folder, seed=seed).findings:
        sys.exit(FAILED)


@main.command()
def version() -> None:
    """Say which version this is."""
    click.echo(__version__)
