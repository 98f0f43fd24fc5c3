"""The `messages.jsonl` files that were read last.

A file that is as it was is not read again; of one that only grew, only what was added is parsed.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path
from typing import NamedTuple

from jan_server.store.files import Files
from jan_server.store.history import History
from jan_server.store.signature import Signature, now, signature_of

logger = logging.getLogger(__name__)

MAX_KEPT = 32 * 2**20
"""Bytes of files and answers; what was parsed of files takes some five times as much."""

MAX_ANSWERS = 4
"""Of one file."""


class _Kept(NamedTuple):
    """Settled: as long as the file has this signature, it holds these bytes."""

    history: History
    signature: Signature
    is_settled: bool


class Histories:
    """The files that were read last."""

    def __init__(self, files: Files, *, capacity: int = 64) -> None:
        self._files = files
        self._capacity = capacity
        self._guard = threading.Lock()
        self._kept: OrderedDict[Path, _Kept] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Histories {len(self._kept)} of {self._capacity}>"

    def read(self, path: Path, *, shown: str) -> History:
        """The file as it is now; without records when it is not there. Raises OSError.

        The same History as long as the bytes are the same and it is kept. What is broken in it is
        logged once, under the name `shown`.
        """
        return self.read_signed(path, shown=shown)[0]

    def read_signed(self, path: Path, *, shown: str) -> tuple[History, Signature | None]:
        """As `read`, and which signature the file had; None when it is not there."""
        kept = self._current(path)
        if kept is not None:
            return kept.history, kept.signature
        try:
            moment = now()
            raw, signature = self._files.read(path)
        except FileNotFoundError:
            return History(b"", ()), None
        old = self.last_seen(path) or History(b"", ())
        new = old if raw == old.raw else old.became(raw)
        self._keep(path, _Kept(new, signature, signature.is_settled(moment)))
        _report(old, new, shown)
        return new, signature

    def current(self, path: Path) -> History | None:
        """What was read, when the file is still as it was then: one `stat`. Raises OSError."""
        kept = self._current(path)
        return kept.history if kept else None

    def wrote(self, path: Path, history: History, signature: Signature) -> None:
        """We wrote this ourselves: it is made out once, by whoever reads it first."""
        self._keep(path, _Kept(history, signature, is_settled=False))

    def keep_answer(self, history: History, key: Hashable, body: bytes) -> None:
        """Put it among the answers of a history that is kept, for as long as there is room."""
        history.answers[key] = body
        with self._guard:
            while len(history.answers) > MAX_ANSWERS:
                history.answers.popitem(last=False)
            self._make_room()

    def _current(self, path: Path) -> _Kept | None:
        kept = self._kept.get(path)
        if kept is None or not kept.is_settled:
            return None
        try:
            return kept if signature_of(path.stat()) == kept.signature else None
        except FileNotFoundError:
            return None

    def last_seen(self, path: Path) -> History | None:
        """What was read last, whatever the file is now."""
        kept = self._kept.get(path)
        return kept.history if kept else None

    def _keep(self, path: Path, kept: _Kept) -> None:
        with self._guard:
            old = self._kept.get(path)
            self._kept[path] = kept
            self._kept.move_to_end(path)
            if old is not None and old.history is not kept.history:
                old.history.answers.clear()  # It may be held for what it was (told.py).
            self._make_room()

    def _make_room(self) -> None:
        while len(self._kept) > self._capacity or self._is_heavy():
            _, dropped = self._kept.popitem(last=False)
            dropped.history.answers.clear()

    def _is_heavy(self) -> bool:
        """More than one file is kept, and together they are too large."""
        kept = self._kept.values()
        return len(kept) > 1 and sum(each.history.weight for each in kept) > MAX_KEPT


def _report(old: History, new: History, shown: str) -> None:
    known = {record.problem for record in old.records}
    for record in new.records:
        if record.problem is not None and record.problem not in known:
            logger.warning("%s:%s", shown, record.problem)
