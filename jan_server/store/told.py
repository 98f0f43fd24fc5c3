"""What each thread's messages were when they were last told of: to tell what has changed since.

Kept apart from what was read last, since a read may find what nobody has told yet. What we write
ourselves is told by whoever writes it, and taken along here, so that a line of ours which another
program cuts off is known by its id.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from jan_server.store.history import History, Message
from jan_server.store.signature import Signature

QUIET = 0.1
"""Seconds that a message must be gone before that is told: many programs write a file by emptying
it first."""

MAX_UNKNOWN = 2**20
"""Bytes of a file that is read whole to tell of it, when it is not known what it held."""

MAX_KEPT = 32 * 2**20
"""Bytes of files; those that were also read are held once."""


class _Known:
    """What a file held when it had this signature: what was read, and behind it what we added."""

    __slots__ = ("added", "history", "signature", "weight")

    def __init__(self, history: History, signature: Signature | None) -> None:
        self.history = history
        self.signature = signature
        self.added: list[bytes] = []
        self.weight = len(history.raw)


class _Missing(NamedTuple):
    message: Message
    since: float


class Told:
    """Of the files that were told of last. What it forgets can only be told of as a whole."""

    def __init__(self, *, capacity: int = 256) -> None:
        self._capacity = capacity
        self._guard = threading.Lock()
        self._known: OrderedDict[Path, _Known] = OrderedDict()
        self._missing: dict[Path, dict[str, _Missing]] = {}
        self._taken_out: dict[Path, set[str]] = {}
        self._shorter: dict[Path, float] = {}
        self._weight = 0

    def __repr__(self) -> str:
        return f"<Told of {len(self._known)} files, {self._weight} bytes>"

    def knows(self, path: Path) -> bool:
        return path in self._known

    def of(self, path: Path) -> History | None:
        """What the file held then; if it is known."""
        with self._guard:
            return self._of(path)

    def missing(self, path: Path) -> Sequence[Message]:
        """Messages that were told of and were not there at the last look."""
        with self._guard:
            return [each.message for each in self._missing.get(path, {}).values()]

    def keep(self, path: Path, signature: Signature | None, history: History) -> None:
        """From now on this is what was told; but for what is missing."""
        with self._guard:
            self._keep(path, _Known(history, signature))

    def keep_first(self, path: Path, signature: Signature | None, history: History) -> None:
        """As `keep`, if nothing is known of that file."""
        with self._guard:
            if path not in self._known:
                self._keep(path, _Known(history, signature))

    def replaced(self, path: Path, base: bytes, by: History, signature: Signature) -> bool:
        """We put `by` in the place of a file that held `base`. Whether that is what was told."""
        with self._guard:
            told = self._of(path)
            is_it = told is not None and told.raw == base
            if is_it:
                self._keep(path, _Known(by, signature))
            return is_it

    def grew(self, path: Path, before: Signature | None, after: Signature, added: bytes) -> bool:
        """We added to a file that had the signature `before`. Whether that is what was told."""
        with self._guard:
            known = self._known.get(path)
            if known is None and (before is None or not before.size):
                known = _Known(History(b""), before)  # Of an empty file that much is known.
                self._keep(path, known)
            if known is None or known.signature != before:
                return False
            known.signature = after
            known.added.append(added)
            known.weight += len(added)
            self._weight += len(added)
            self._make_room(path)
            return True

    def expect(self, path: Path, messages: Iterable[Message]) -> None:
        """These are told of, and it is not known whether they are there."""
        now = time.monotonic()
        with self._guard:
            missing = self._missing.setdefault(path, {})
            missing |= {message.id: _Missing(message, now) for message in messages}

    def settle(self, path: Path, id: str) -> None:
        """That message was there: what we make of it now is told by ourselves."""
        with self._guard:
            self._missing.get(path, {}).pop(id, None)

    def take_out(self, path: Path, id: str) -> None:
        """We tell ourselves that this one is gone, though it is among what was told of."""
        with self._guard:
            self._taken_out.setdefault(path, set()).add(id)

    def may_be_filled(self, path: Path) -> bool:
        """Of a file that is shorter than what was told, when that is not known: for a moment."""
        now = time.monotonic()
        with self._guard:
            return now - self._shorter.setdefault(path, now) < QUIET

    def long_gone(
        self, path: Path, gone: Iterable[Message], *, looked_for: Iterable[Message]
    ) -> Sequence[Message]:
        """Of the messages that are not there now those that it is time to tell of.

        What was `looked_for` and is not among them was found.
        """
        now = time.monotonic()
        with self._guard:
            missing = self._missing.pop(path, {})
            by_us = self._taken_out.pop(path, ())
            found = [
                missing.get(message.id, _Missing(message, now))
                for message in gone
                if message.id not in by_us
            ]
            for message in looked_for:
                # Race: since the look it may have been changed, and be expected as it is now.
                known = missing.get(message.id)
                if known is not None and known.message is message:
                    del missing[message.id]
            waiting = {each.message.id: each for each in found if now - each.since < QUIET}
            if still := {**waiting, **missing}:
                self._missing[path] = still
        return [each.message for each in found if each.message.id not in waiting]

    def forget(self, path: Path) -> None:
        """The thread is gone, or too much has changed."""
        with self._guard:
            self._missing.pop(path, None)
            self._taken_out.pop(path, None)
            self._shorter.pop(path, None)
            known = self._known.pop(path, None)
            self._weight -= known.weight if known else 0

    def _of(self, path: Path) -> History | None:
        known = self._known.get(path)
        if known is None:
            return None
        if known.added:
            known.history = known.history.became(b"".join([known.history.raw, *known.added]))
            known.added = []
        return known.history

    def _keep(self, path: Path, known: _Known) -> None:
        self._shorter.pop(path, None)
        old = self._known.get(path)
        self._weight += known.weight - (old.weight if old else 0)
        self._known[path] = known
        self._make_room(path)

    def _make_room(self, latest: Path) -> None:
        self._known.move_to_end(latest)
        while len(self._known) > 1 and (
            len(self._known) > self._capacity or self._weight > MAX_KEPT
        ):
            _, dropped = self._known.popitem(last=False)
            self._weight -= dropped.weight
