"""The end of a `messages.jsonl`, read without what stands before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jan_server.store import jsonl
from jan_server.store.files import Files
from jan_server.store.jsonl import Record

_WIDER = 4


class Tail(NamedTuple):
    """The records on the file's last lines; their line numbers and offsets are not the file's.

    Whole: they are all that the file has.
    """

    records: list[Record]
    is_whole: bool
    ends_line: bool

    @property
    def torn(self) -> bytes:
        """The bytes of a torn last line; empty when there is none."""
        return self.records[-1].raw if self.records and self.records[-1].is_torn else b""


def tails(files: Files, path: Path, *, length: int) -> Iterator[Tail]:
    """What the last `length` bytes hold, then what more bytes hold, until all are read.

    Each time the file is read as it is then. Raises OSError.
    """
    is_whole = False
    while not is_whole:
        raw, signature = files.read_from(path, -length)
        is_whole = signature.size <= length
        # The first line is only a part, unless all is read.
        start = 0 if is_whole else raw.find(b"\n") + 1
        if start or is_whole:
            ends_line = not raw or raw.endswith(b"\n")
            yield Tail(jsonl.records(raw, start=start), is_whole, ends_line)
        length *= _WIDER
