'''What a person types at a terminal, as questions of one line or several.

    """ ... """      everything between, over any number of lines
    a backslash      at the end of a line: it goes on in the next
    a paste          of several lines is one question

The terminal's own line editing is Python's (readline), where it has it: arrows, and what was typed
before. That is in memory only.
'''

from __future__ import annotations

import contextlib
import io
import select
import sys
from collections.abc import Iterator

PROMPT = ">>> "
MORE = "... "
QUOTES = '"""'
PASTE_SECONDS = 0.05
"""Within which what is pasted comes on; nobody types so fast."""


def enable_editing() -> None:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # A byte that is no text does not end the chat.
    with contextlib.suppress(ImportError):  # A Python without it reads plain lines.
        import readline

        # Python switches it off, for its own prompt. A pasted text can be looked at before it goes.
        readline.parse_and_bind("set enable-bracketed-paste on")


def read_question() -> str | None:
    """The next one, with white space around it taken away; None at the end (Ctrl-D).

    Raises KeyboardInterrupt for Ctrl-C.
    """
    try:
        line = input(PROMPT)
    except EOFError:
        return None
    if line.lstrip().startswith(QUOTES):
        return "\n".join(_quoted(line.lstrip().removeprefix(QUOTES))).strip()
    return "\n".join(_continued(line)).strip()


def _quoted(line: str) -> Iterator[str]:
    """To the closing quotes, or to the end of all."""
    with contextlib.suppress(EOFError):
        while not line.rstrip().endswith(QUOTES):
            yield line
            line = input(MORE)
        yield line.rstrip().removesuffix(QUOTES)


def _continued(line: str) -> Iterator[str]:
    with contextlib.suppress(EOFError):
        while line.endswith("\\") or _is_pasted():
            yield line.removesuffix("\\")
            line = input(MORE)
        yield line


def _is_pasted() -> bool:
    """Whether another line is there already, where the terminal does not mark a paste."""
    return bool(select.select([sys.stdin], [], [], PASTE_SECONDS)[0])
