"""Bytes of a `.jsonl` file -> its records. Pure: only this module knows what a broken line is.

One line is one JSON object. What else a line may be in a file that people and other programs edit:

- CRLF and a byte order mark are not part of the record; blank lines are skipped.
- A last line without a newline counts when it is whole; else it is torn: not written yet.
- Two objects glued together (`}{`: a newline was lost) are two records, and reported.
- A record that zeros follow counts, and the zeros are reported: a power cut can leave them in the
  place of a line that was added to one without a newline.
- Anything else is reported with its place, and hides nothing but itself.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from jan_server.store import scanner
from jan_server.store.scanner import Problem

_GLUE = re.compile(rb"\}[ \t]*\{")
GLUED = "expected a newline before this record"
ZEROS = "zeros stand behind this record"
_BLANK = b" \t\r\n"
_places = json.JSONDecoder()


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One object of the file, or a part of it that is none.

    `raw` are its bytes without line ending; `line` counts from 1, `offset` is in bytes. `value` is
    None when the bytes are not an object; a record that stands glued to the one before it has both
    a value and a problem. Torn: broken, and the end of a file that ends without a newline.
    """

    line: int
    offset: int
    raw: bytes
    value: dict[str, Any] | None = None
    problem: Problem | None = None
    is_torn: bool = False


def records(raw: bytes, *, start: int = 0, line: int = 1) -> list[Record]:
    """The records from byte `start`, where line number `line` begins, to the end."""
    found: list[Record] = []
    while start < len(raw):
        newline = raw.find(b"\n", start)
        end = len(raw) if newline < 0 else newline
        skipped = len(scanner.BOM) if start == 0 and raw.startswith(scanner.BOM) else 0
        body = raw[start + skipped : end].removesuffix(b"\r")
        if body.strip(_BLANK):
            found += _line(body, line=line, offset=start + skipped, is_last=newline < 0)
        start, line = end + 1, line + 1
    return found


def count_lines(raw: bytes) -> int:
    """How many lines the file has; a last one without a newline counts."""
    return raw.count(b"\n") + (1 if raw and not raw.endswith(b"\n") else 0)


def _line(body: bytes, *, line: int, offset: int, is_last: bool) -> list[Record]:
    value = scanner.decode(body, line=line)
    if isinstance(value, Problem) and _GLUE.search(body):
        pieces = _glued(body, line=line, offset=offset, is_last=is_last)
        if pieces:
            return pieces
    if isinstance(value, Problem) and body.endswith(b"\0"):
        pieces = _zeroed(body, line=line, offset=offset, is_last=is_last)
        if pieces:
            return pieces
    if isinstance(value, Problem):
        return [Record(line=line, offset=offset, raw=body, problem=value, is_torn=is_last)]
    if not isinstance(value, dict):
        problem = Problem(line, 1, "expected an object")
        return [Record(line=line, offset=offset, raw=body, problem=problem)]
    return [Record(line=line, offset=offset, raw=body, value=value)]


def _glued(body: bytes, *, line: int, offset: int, is_last: bool) -> list[Record]:
    """The objects that follow each other on one line, and what remains; empty when there is none.

    What follows an object must be another one, whole or not: else the line is simply broken.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return []
    found: list[Record] = []
    position = _after_blanks(text, 0)
    offset += position
    while position < len(text):
        end = _end_of_object(text, position)
        if text[position] != "{" or (end is None and not found):
            return []
        end = end or len(text)
        piece = text[position:end].encode()
        record = _piece(piece, line=line, offset=offset, column=position + 1, is_first=not found)
        found.append(msgspec.structs.replace(record, is_torn=is_last and record.value is None))
        following = _after_blanks(text, end)
        offset += len(piece) + following - end
        position = following
    return found


def _zeroed(body: bytes, *, line: int, offset: int, is_last: bool) -> list[Record]:
    """What stands before the zeros at the end of the line, and those; empty if that is broken."""
    kept = body.rstrip(b"\0")
    found = _line(kept, line=line, offset=offset, is_last=False)
    if any(record.value is None for record in found):
        return []
    problem = Problem(line, len(kept.decode()) + 1, ZEROS)
    zeros = body[len(kept) :]
    offset += len(kept)
    return [
        *found,
        Record(line=line, offset=offset, raw=zeros, problem=problem, is_torn=is_last),
    ]


def _piece(piece: bytes, *, line: int, offset: int, column: int, is_first: bool) -> Record:
    value = scanner.decode(piece, line=line, column=column)
    if isinstance(value, Problem):
        return Record(line=line, offset=offset, raw=piece, problem=value)
    problem = None if is_first else Problem(line, column, GLUED)
    return Record(line=line, offset=offset, raw=piece, value=value, problem=problem)


def _end_of_object(text: str, position: int) -> int | None:
    try:
        return _places.raw_decode(text, position)[1]
    except (ValueError, RecursionError):
        return None


def _after_blanks(text: str, position: int) -> int:
    while text[position : position + 1] in (" ", "\t"):
        position += 1
    return position
