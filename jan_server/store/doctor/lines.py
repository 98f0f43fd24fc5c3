"""What is wrong in the bytes of a `messages.jsonl`, and the bytes without it. Pure.

A fault that can be mended without guessing is an edit: some bytes become others. What a person may
have typed is never taken out: only zeros, and a last line that nobody has finished writing, which
is handed over to be kept elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from jan_server import ids
from jan_server.store import jsonl, scanner
from jan_server.store.document import edited
from jan_server.store.history import viewed
from jan_server.store.jsonl import Record

LONG = 10 * 2**20
"""Bytes. More than a request may bring, and what every look at the thread must read."""

LIMIT = 200
"""How many faults of one file are told: something else than a history may have its name."""

_PIECE = 2**20
"""Bytes that are parsed at a time: a long history, parsed, is five times its size."""


class Edit(NamedTuple):
    """`start` to `end` of the file become `new`."""

    start: int
    end: int
    new: bytes


class Fault(NamedTuple):
    """`edit` is None for what a person must mend. `address` is the id that an edit writes."""

    code: str
    line: int
    column: int
    reason: str
    edit: Edit | None = None
    address: str = ""


class Lines(NamedTuple):
    """`messages` is how many there are; of the faults some may be untold, for being too many."""

    faults: list[Fault]
    messages: int
    untold: int
    untold_edits: int


class Mended(NamedTuple):
    """The file's new bytes, and the unfinished line that was at its end, if there was one."""

    raw: bytes
    torn: bytes


class _Named(NamedTuple):
    """A message that says its id; `start` to `end` are its bytes."""

    id: str
    line: int
    column: int
    start: int
    end: int


def examine(raw: bytes, *, limit: int = LIMIT) -> Lines:
    """The faults, in the order of the file."""
    faults: list[Fault] = []
    named: list[_Named] = []
    messages = untold = edits = 0

    def tell(more: Iterable[Fault]) -> None:
        nonlocal untold, edits
        for fault in more:
            if len(faults) < limit:
                faults.append(fault)
            else:
                untold += 1
                edits += fault.edit is not None

    for record, start in _records(raw):
        tell(_faults(record, start, raw))
        if record.value is not None:
            messages += 1
            tell(_take_id(record, start, named))
    tell(_duplicates(named, raw))
    faults.sort(key=lambda fault: (fault.line, fault.column))
    return Lines(faults, messages, untold, edits)


def mended(raw: bytes) -> Mended:
    """The file with every edit made; `raw` itself where there is none."""
    pieces: list[bytes] = []
    position, torn = 0, b""
    for code, edit in sorted(_edits(raw), key=lambda item: item[1]):
        pieces += raw[position : edit.start], edit.new
        position = edit.end
        torn = raw[edit.start : edit.end] if code == "torn_line" else torn
    return Mended(b"".join((*pieces, raw[position:])), torn)


def _edits(raw: bytes) -> list[tuple[str, Edit]]:
    faults = examine(raw, limit=sys.maxsize).faults
    return [(fault.code, fault.edit) for fault in faults if fault.edit is not None]


def _records(raw: bytes) -> Iterator[tuple[Record, int]]:
    """Each record, and where in the file it begins."""
    start, line = 0, 1
    while start < len(raw):
        newline = raw.find(b"\n", start + _PIECE)
        end = len(raw) if newline < 0 else newline + 1
        piece = raw[start:end]
        for record in jsonl.records(piece, line=line):
            yield record, start + record.offset
        start, line = end, line + piece.count(b"\n")


def _faults(record: Record, start: int, raw: bytes) -> Iterator[Fault]:
    problem, line = record.problem, record.line
    if len(record.raw) > LONG:
        yield Fault("long_line", line, 1, f"holds {len(record.raw) / 2**20:.0f} MB")
    if problem is None:
        return
    code, edit = _judged(record, start, raw)
    yield Fault(code, problem.line, problem.column, problem.reason, edit)


def _judged(record: Record, start: int, raw: bytes) -> tuple[str, Edit | None]:
    if record.value is not None:
        return "glued_records", Edit(start, start, b"\n")
    if not record.raw.strip(b" \t\0"):
        return "zeros", Edit(start, _end_of_zeros(record, start, raw), b"")
    if record.is_torn:
        return "torn_line", Edit(start, len(raw), b"")
    return "broken_line", None


def _end_of_zeros(record: Record, start: int, raw: bytes) -> int:
    """Of a line of its own its newline goes too; behind a record that one stays."""
    before = raw[raw.rfind(b"\n", 0, start) + 1 : start]
    end = start + len(record.raw)
    if before.removeprefix(scanner.BOM).strip(b" \t"):
        return end
    newline = raw.find(b"\n", end)
    return len(raw) if newline < 0 else newline + 1


def _take_id(record: Record, start: int, named: list[_Named]) -> Iterator[Fault]:
    """Note the message's own id; one that could not be asked for is a fault."""
    own = (record.value or {}).get("id")
    column = record.problem.column if record.problem else 1
    id = str(own) if isinstance(own, int) and not isinstance(own, bool) else own
    if isinstance(id, str) and ids.is_lookup_id(id, kind="message"):
        named.append(_Named(id, record.line, column, start, start + len(record.raw)))
    elif own is not None:
        yield Fault("unusable_message_id", record.line, column, _unusable(own))


def _unusable(own: Any) -> str:
    if not isinstance(own, str):
        return f"an id is a text, not {_KINDS.get(type(own), 'this')}"
    shown = own if len(own) <= 40 else f"{own[:37]}..."
    return f"no message can be asked for by the id {shown!r}"


_KINDS = {bool: "true or false", float: "a fraction", list: "an array", dict: "an object"}


def _duplicates(named: Sequence[_Named], raw: bytes) -> Iterator[Fault]:
    if len({message.id for message in named}) == len(named):
        return
    first: dict[str, int] = {}
    for message, address in zip(named, _addresses(named), strict=True):
        line = first.setdefault(message.id, message.line)
        if address != message.id:
            own = raw[message.start : message.end]
            edit = Edit(message.start, message.end, edited(own, {"id": address}))
            reason = f"the message id {message.id!r} is also that of line {line}"
            place = ("duplicate_message_id", message.line, message.column)
            yield Fault(*place, reason, edit, address)


def _addresses(named: Sequence[_Named]) -> list[str]:
    """Under which ids these messages are served."""
    records = [
        Record(line=message.line, offset=message.start, raw=b"", value={"id": message.id})
        for message in named
    ]
    return [message.id for message in viewed(records, before_first=lambda: 0)]
