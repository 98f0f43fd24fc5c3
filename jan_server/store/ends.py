"""What an append must know of a file, kept since the append before: it need not be read again.

Not for reads: a signature is taken for what the file holds even when it is younger than the clock's
tick. Our own kind waits for a lock and makes the file longer, which shows. Anybody else who keeps
the size and the time while he changes a line might have come a moment later as well, between this
look and the write; what comes of it at worst is an id that is there twice, which lists tell apart.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from jan_server.store.signature import Signature

MAX_IDS = 200_000
"""Of all files together; some 100 bytes each."""


class End(NamedTuple):
    """How a file ends. `latest` is the greatest ULID of its last lines.

    `ids` are those of all its messages, or None as long as nobody needed them.
    """

    signature: Signature | None
    ends_line: bool
    latest: str | None
    ids: set[str] | None


class Ends:
    """The ends of the files that were appended to last. Callers hold the thread's lock."""

    def __init__(self, *, capacity: int = 2048) -> None:
        self._capacity = capacity
        self._guard = threading.Lock()
        self._ends: OrderedDict[Path, End] = OrderedDict()
        self._ids = 0

    def __repr__(self) -> str:
        return f"<Ends of {len(self._ends)} files, {self._ids} ids>"

    def take(self, path: Path, signature: Signature | None) -> End | None:
        """What is known of the file when it has this signature; it is not kept any more."""
        with self._guard:
            end = self._ends.pop(path, None)
            self._ids -= _weight(end)
        return end if end is not None and end.signature == signature else None

    def keep(self, path: Path, end: End) -> None:
        with self._guard:
            self._ids += _weight(end) - _weight(self._ends.get(path))
            self._ends[path] = end
            while len(self._ends) > self._capacity or (self._ids > MAX_IDS and len(self._ends) > 1):
                _, dropped = self._ends.popitem(last=False)
                self._ids -= _weight(dropped)


def _weight(end: End | None) -> int:
    return len(end.ids) if end is not None and end.ids else 0
