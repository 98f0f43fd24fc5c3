"""A `messages.jsonl` as it was read, and its lines seen as messages.

While a file only grows, only what was added is parsed again.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jan_server import ids
from jan_server.store import formats, jsonl
from jan_server.store.files import Files, Signature, now, signature_of
from jan_server.store.jsonl import Record

logger = logging.getLogger(__name__)


MAX_KEPT = 64 * 2**20
"""Bytes of files; what was parsed of them takes some five times as much."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message as its line has it. Do not change `value`: it is shared.

    `id` is the address that reaches it. `seconds` is its time, or the one of the message before
    it. `raw` are the line's bytes; `line` counts from 1, as the file was when it was read.
    """

    id: str
    value: Mapping[str, Any]
    seconds: int
    raw: bytes
    line: int


class History(NamedTuple):
    """A file's bytes at one moment, and the records in them."""

    raw: bytes
    signature: Signature | None
    is_settled: bool
    records: tuple[Record, ...]


_NOTHING = History(b"", None, False, ())


class Histories:
    """The files that were read last."""

    def __init__(self, files: Files, *, capacity: int = 64) -> None:
        self._files = files
        self._capacity = capacity
        self._guard = threading.Lock()
        self._kept: OrderedDict[Path, History] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Histories {len(self._kept)} of {self._capacity}>"

    def read(self, path: Path, *, shown: str) -> History:
        """The file as it is now; without records when it is not there. Raises OSError.

        What is broken in it is logged once, under the name `shown`.
        """
        with self._guard:
            old = self._kept.get(path, _NOTHING)
        try:
            signature = signature_of(path.stat())
            if old.is_settled and old.signature == signature:
                return old
            moment = now()
            raw, signature = self._files.read(path)
        except FileNotFoundError:
            return _NOTHING
        new = History(raw, signature, signature.is_settled(moment), _records(raw, old))
        self._keep(path, new)
        _report(old, new, shown)
        return new

    def _keep(self, path: Path, history: History) -> None:
        with self._guard:
            self._kept[path] = history
            self._kept.move_to_end(path)
            while len(self._kept) > self._capacity or self._is_heavy():
                self._kept.popitem(last=False)

    def _is_heavy(self) -> bool:
        """More than one file is kept, and together they are too large."""
        return len(self._kept) > 1 and sum(len(h.raw) for h in self._kept.values()) > MAX_KEPT


def viewed(records: Iterable[Record], *, before_first: Callable[[], int]) -> list[Message]:
    """The records that are messages, each with an id that no other has and with a time.

    Of an id that is there twice the first keeps it, the others are `<id>.2`, `<id>.3`. A missing
    time is the one of the message before; `before_first` gives the first one's.
    """
    whole = [(record, record.value) for record in records if record.value is not None]
    own = [_own_id(record, value) for record, value in whole]
    taken, count = set(own), Counter[str]()
    found: list[Message] = []
    for (record, value), id in zip(whole, own, strict=True):
        address = _address(id, count, taken)
        seconds = formats.message_seconds(value)
        if seconds is None:
            seconds = found[-1].seconds if found else before_first()
        found.append(
            Message(id=address, value=value, seconds=seconds, raw=record.raw, line=record.line)
        )
    return found


def _own_id(record: Record, value: Mapping[str, Any]) -> str:
    """The line's own id; of a line without one that could be asked for, a hash of its bytes."""
    id = value.get("id")
    if isinstance(id, int) and not isinstance(id, bool):
        id = str(id)
    if isinstance(id, str) and ids.is_lookup_id(id, kind="message"):
        return id
    return f"line-{sha256(record.raw).hexdigest()[:16]}"


def _address(id: str, count: Counter[str], taken: set[str]) -> str:
    """`id` itself for the first that has it, then the next free `<id>.2`, `<id>.3`."""
    address = id
    while count[id] and address in taken:
        address = f"{id}.{count[id] + 1}"
        count[id] += 1
    count[id] = count[id] or 1
    taken.add(address)
    return address


def _records(raw: bytes, old: History) -> tuple[Record, ...]:
    """The records, those of `old` taken over when the file has only grown since."""
    if old.raw.endswith(b"\n") and raw.startswith(old.raw):
        line = jsonl.count_lines(old.raw) + 1
        return old.records + tuple(jsonl.records(raw, start=len(old.raw), line=line))
    return tuple(jsonl.records(raw))


def _report(old: History, new: History, shown: str) -> None:
    known = {record.problem for record in old.records}
    for record in new.records:
        if record.problem is not None and record.problem not in known:
            logger.warning("%s:%s", shown, record.problem)
