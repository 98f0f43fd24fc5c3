"""The group of all commands: a table of rows; a command is imported when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import click
from click.shell_completion import CompletionItem
from msgspec import Struct

from jan_server.errors import JanError, SettingsInvalid
from jan_server.printable import printable

CANNOT_START = 2
FAILED = 1


class Row(Struct, frozen=True):
    """A command as `--help` and completion show it.

    `section` is the heading that it stands under. The command itself is `command` in the module of
    this package with its name, or with the one of `module`, below the package.
    """

    name: str
    section: str
    summary: str
    module: str = ""

    def load(self) -> click.Command:
        found = importlib.import_module(f"jan_server.cli.{self.module or self.name}")
        command: click.Command = found.command
        command.name = self.name
        return command


class Commands(click.Group):
    """`python -m jan_server --port 8080` means `serve --port 8080`, with `serve` as `default`.

    Errors that a person can mend are one line on stderr and an exit code, not a traceback.
    """

    def __init__(self, *args: Any, rows: Sequence[Row], default: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rows = rows
        self._default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if _names_no_command(args) and not _is_completion_of_nothing(ctx, args):
            args = [self._default, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return [row.name for row in self._rows]

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        return next((row.load() for row in self._rows if row.name == cmd_name), None)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except JanError as error:
            click.echo(f"jan_server: {printable(error.message)}", err=True)
            ctx.exit(CANNOT_START if isinstance(error, SettingsInvalid) else FAILED)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, rows in groupby(self._rows, key=lambda row: row.section):
            with formatter.section(section):
                formatter.write_dl([(row.name, row.summary) for row in rows])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As click's own, which would import every command to say what it does.

        Options may be those of the command that needs no name.
        """
        commands = [
            CompletionItem(row.name, help=row.summary)
            for row in self._rows
            if row.name.startswith(incomplete)
        ]
        options = click.Command.shell_complete(self, ctx, incomplete)
        default = self.get_command(ctx, self._default) if incomplete.startswith("-") else None
        if default:
            options += default.shell_complete(click.Context(default, parent=ctx), incomplete)
        return [*commands, *options]


def _names_no_command(args: list[str]) -> bool:
    return not args or (args[0].startswith("-") and args[0] not in ("--help", "--version"))


def _is_completion_of_nothing(ctx: click.Context, args: list[str]) -> bool:
    """Whoever completes an empty line asks which commands there are."""
    return ctx.resilient_parsing and not args
