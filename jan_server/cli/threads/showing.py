"""`threads show ID`: a chat to read, or `Thread` as JSON."""

from __future__ import annotations

import click
import msgspec
from rich.text import Text

from jan_server.cli.arguments import thread_argument
from jan_server.cli.folder import open_store
from jan_server.cli.options import data_folder_option, find_settings, json_option
from jan_server.cli.output import plain_console, print_json, print_text
from jan_server.errors import FileUnreadable
from jan_server.printable import printable
from jan_server.store import Message, Store, formats


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A message: what it says, without images and other parts; its time in seconds."""

    id: str
    role: str
    created_at: int
    text: str


class Thread(msgspec.Struct, frozen=True, kw_only=True):
    """`problems` are what of its files cannot be read, each with its place."""

    id: str
    title: str
    messages: list[Line]
    problems: list[str]


@click.command()
@thread_argument
@data_folder_option
@json_option
def command(thread: str, data_folder: str | None, as_json: bool) -> None:
    """Show the messages of a THREAD, the oldest first.

    JSON: {id, title, messages: [{id, role, created_at, text}], problems}.
    """
    found = read(open_store(find_settings(data_folder)), thread)
    if as_json:
        print_json(found)
    else:
        _print(found)


def read(store: Store, id: str) -> Thread:
    """What can be read of a thread. Raises InvalidId, NotFound, and FileUnreadable for messages."""
    problems: list[str] = []
    title = None
    try:
        title = store.threads.get(id).value.get("title")
    except FileUnreadable as error:
        problems.append(error.message)
    messages = store.messages(id)
    lines = [_line(message) for message in messages.list()]
    problems += messages.problems()
    return Thread(
        id=id, title=title if isinstance(title, str) else "", messages=lines, problems=problems
    )


def _line(message: Message) -> Line:
    role = message.value.get("role")
    return Line(
        id=message.id,
        role=role if isinstance(role, str) else "",
        created_at=message.seconds,
        text=formats.message_text(message.value),
    )


def _print(thread: Thread) -> None:
    console = plain_console()
    console.print(Text(printable(thread.title or thread.id), style="bold"))
    for line in thread.messages:
        console.print()
        console.print(Text(f"{printable(line.role)}:", style="bold"))
        print_text(line.text)
    for problem in thread.problems:
        click.echo(f"\n{printable(problem)}")
