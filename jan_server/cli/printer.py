"""Prints an answer as it comes."""

from __future__ import annotations

import sys

from rich.text import Text

from jan_server.cli.conversation import Piece
from jan_server.cli.output import plain_console
from jan_server.printable import printable_lines


class Printer:
    """On a terminal: spelled out, and what the model thinks before it, dimmed.

    Elsewhere just the answer, as it is; nothing when it `is_silent`. `end` closes the last line.
    """

    def __init__(self, *, is_silent: bool = False) -> None:
        self._is_silent = is_silent
        self._is_terminal = sys.stdout.isatty()
        self._console = plain_console()
        self._last = Piece()

    def print(self, piece: Piece) -> None:
        if self._is_silent:
            return
        if piece.reasoning and self._is_terminal:
            self._console.print(Text(printable_lines(piece.reasoning), style="dim"), end="")
            self._last = Piece(reasoning=piece.reasoning)
        if piece.content:
            self._print_content(piece.content)

    def end(self) -> None:
        text = self._last.content or self._last.reasoning
        if text and not text.endswith("\n"):
            print(flush=True)
        self._last = Piece()

    def _print_content(self, text: str) -> None:
        if self._last.reasoning:
            self.end()
        sys.stdout.write(printable_lines(text) if self._is_terminal else text)
        sys.stdout.flush()
        self._last = Piece(content=text)
