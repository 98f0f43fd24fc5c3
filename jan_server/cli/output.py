"""What commands print on stdout: lines and tables for people, JSON for programs.

Nothing of what a file, a model or a server says reaches a terminal but as text. Colours are for
terminals only, and not with NO_COLOR.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click
import msgspec
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from jan_server.printable import printable, printable_lines

GAP = "  "
LEAST = 12
"""Columns that what is cut has at least."""

_CONTROLS = re.compile("[\x7f-\x9f\u2028\u2029]")

Row = Sequence[str]


def json_text(value: Any) -> str:
    """Controls that JSON allows are escaped too: the text may end up on a terminal."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def print_json(value: Any) -> None:
    click.echo(json_text(value))


def print_text(text: str) -> None:
    """A text of several lines: on a terminal spelled out, else just as it is."""
    print(printable_lines(text) if sys.stdout.isatty() else text)


def plain_console() -> Console:
    """It styles what it is told to, and takes nothing in a text for more than text.

    With NO_COLOR it styles nothing, where rich alone would still write bold and dim.
    """
    return Console(
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
    )


def print_table(names: Row, rows: Sequence[Row], *, cut_last: bool = False) -> None:
    """Aligned columns under their names; whole, however wide.

    On a terminal that is too narrow for that, the last cells are cut where `cut_last` allows it;
    else each row is a paragraph, its first cell the heading.
    """
    console = plain_console()
    shown = [[printable(cell) for cell in row] for row in rows]
    if cut_last and console.is_terminal:
        room = console.width - sum(_widths(names, shown)[:-1]) - len(GAP) * (len(names) - 1)
        if room >= LEAST:
            shown = [[*row[:-1], _cut(row[-1], room)] for row in shown]
    widths = _widths(names, shown)
    needed = sum(widths) + len(GAP) * (len(widths) - 1)
    if console.is_terminal and needed > console.width:
        for row in shown:
            console.print(Text(row[0], style="bold"))
            console.print(Text("\n".join(_paragraph(names, row))))
        return
    console.print(Text(_aligned(names, widths), style="bold"))
    for row in shown:
        click.echo(_aligned(row, widths))


def _widths(names: Row, rows: Sequence[Row]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(names, *rows, strict=True)]


def _cut(cell: str, width: int) -> str:
    return cell if cell_len(cell) <= width else set_cell_size(cell, width - 1).rstrip() + "…"


def _aligned(cells: Row, widths: Sequence[int]) -> str:
    padded = (
        cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True)
    )
    return GAP.join(padded).rstrip()


def _paragraph(names: Row, row: Row) -> Iterator[str]:
    for name, cell in zip(names[1:], row[1:], strict=True):
        if cell:
            yield f"{GAP}{name}: {cell}"


def size(count: int | None) -> str:
    """Bytes as people say them: `98.4 MB`, in powers of 1000 as disks are sold."""
    if count is None:
        return ""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def duration(seconds: float) -> str:
    """`45 s`, `14 min`, `2.0 h`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
