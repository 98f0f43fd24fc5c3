"""`threads search TEXT`: hits as they are found, by thread; or a JSON array of `Found`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import click
import msgspec
from rich.text import Text

from jan_server.cli.folder import open_store
from jan_server.cli.options import data_folder_option, find_settings, json_option
from jan_server.cli.output import json_text, plain_console
from jan_server.printable import printable
from jan_server.store.search import Hit, search

AROUND = 40
"""Characters of a snippet on each side of what was found."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """`line` of `file` has the text; both that and `message_id` are null for a title."""

    thread_id: str
    title: str
    file: str
    line: int | None
    message_id: str | None
    role: str | None
    snippet: str


@click.command()
@click.argument("text")
@data_folder_option
@json_option
def command(text: str, data_folder: str | None, as_json: bool) -> None:
    """Find a TEXT in the titles and messages of all threads, in upper or lower case.

    Each hit is told with its file, the line in it, the message's id and what stands around. Lines
    that are broken are searched as they stand.

    JSON: an array of {thread_id, title, file, line, message_id, role, snippet}.
    """
    if not text.strip():
        raise click.UsageError("There is nothing to search for: TEXT is empty.")
    hits = search(open_store(find_settings(data_folder)), text)
    if as_json:
        _print_json(_found(hit, text) for hit in hits)
    else:
        _print(hits, text)


def _print_json(found: Iterable[Found]) -> None:
    """An array that is printed as it grows."""
    before = "[\n"
    for each in found:
        click.echo(before + json_text(each), nl=False)
        before = ",\n"
    click.echo("[]" if before == "[\n" else "\n]")


def _found(hit: Hit, text: str) -> Found:
    return Found(
        thread_id=hit.thread_id,
        title=hit.title,
        file=hit.file,
        line=hit.line,
        message_id=hit.message_id,
        role=hit.role,
        snippet="".join(snippet(hit, len(text))),
    )


def _print(hits: Iterator[Hit], text: str) -> None:
    console = plain_console()
    count = 0
    for thread_id, of_thread in groupby(hits, key=lambda hit: hit.thread_id):
        for index, hit in enumerate(of_thread):
            if index == 0:
                console.print(Text(f"{printable(thread_id)}  {printable(hit.title)}", style="bold"))
            if hit.line is not None:
                console.print(_line(hit, len(text)))
            count += 1
    if not count:
        click.echo(f"No thread has {printable(text)!r} in it.")


def _line(hit: Hit, length: int) -> Text:
    before, match, after = map(printable, snippet(hit, length))
    place = f"  {printable(hit.file)}:{hit.line}  {printable(hit.message_id or 'no message')}  "
    return Text.assemble(place, before, (match, "bold"), after)


def snippet(hit: Hit, length: int) -> tuple[str, str, str]:
    """What stands before it, itself, and what stands after it, each on one line."""
    end = hit.start + length
    before = hit.text[max(0, hit.start - AROUND) : hit.start]
    after = hit.text[end : end + AROUND]
    return (
        ("…" if hit.start > AROUND else "") + _on_one_line(before),
        _on_one_line(hit.text[hit.start : end]),
        _on_one_line(after) + ("…" if end + AROUND < len(hit.text) else ""),
    )


def _on_one_line(text: str) -> str:
    return "".join(" " if character in "\n\r\t" else character for character in text)
