"""Text from files, models and servers as a terminal may show it."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_UNPRINTABLE_BUT_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(text: str) -> str:
    """On one line, and nothing that a terminal obeys: `\\x1b` for an escape or a stray byte."""
    return _UNPRINTABLE.sub(_spelled, text)


def printable_lines(text: str) -> str:
    """The same, but for line ends and tabs, which stay."""
    return _UNPRINTABLE_BUT_LINES.sub(_spelled, text.replace("\r\n", "\n"))


def _spelled(match: re.Match[str]) -> str:
    return ascii(_byte_of(match[0]))[1:-1]


def _byte_of(character: str) -> str:
    """Python shows a byte of a name that is no UTF-8 as half of a surrogate pair (PEP 383)."""
    is_byte = "\udc80" <= character <= "\udcff"
    return chr(ord(character) - 0xDC00) if is_byte else character
