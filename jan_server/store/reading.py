"""What a resource's document is at this moment: read, or not readable and why."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

from jan_server.store import model_formats, scanner, yml
from jan_server.store.document import Document
from jan_server.store.files import Files
from jan_server.store.paths import THREADS, Place
from jan_server.store.scanner import Problem
from jan_server.store.signature import Signature, now, signature_at


class Reading(NamedTuple):
    """`document` is None when there is a problem: `place` is the file with line and column.

    Settled: as long as the file has this signature, it says the same.
    """

    signature: Signature | None
    is_settled: bool
    document: Document | None
    place: str = ""
    reason: str = ""

    @property
    def problem(self) -> str:
        return f"{self.place} {self.reason}" if self.place else ""


def read(place: Place, files: Files, folder: Path, *, id: str) -> Reading:
    """A folder without its document is read as if that were `{}`."""
    path = folder / place.kind.document
    try:
        moment = now()
        raw, signature = files.read(path)
    except FileNotFoundError:
        return Reading(None, False, _without_file(place, folder, path, id=id))
    except OSError as error:
        return Reading(None, False, None, place.shown(path), f"cannot be read ({error.strerror})")
    is_settled = signature.is_settled(moment)
    value = decoded(path, raw)
    if isinstance(value, Problem):
        shown = f"{place.shown(path)}:{value.line}:{value.column}"
        return Reading(signature, is_settled, None, shown, value.reason)
    document = Document(
        id=id,
        path=path,
        raw=raw,
        value=value,
        signature=signature,
        mtime=signature.mtime_ns / 1e9,
        filed=_filed(place, folder),
    )
    return Reading(signature, is_settled, document)


def decoded(path: Path, raw: bytes) -> dict[str, Any] | Problem:
    """The object that a document says; of a `.yml` the one that a `model.json` would hold."""
    value = yml.decode(raw) if path.suffix == ".yml" else scanner.decode(raw)
    if not isinstance(value, Problem) and not isinstance(value, dict):
        return Problem(1, 1, "expected an object")
    if isinstance(value, Problem) or path.suffix != ".yml":
        return value
    return model_formats.manifest(value)


def _without_file(place: Place, folder: Path, path: Path, *, id: str) -> Document:
    return Document(
        id=id,
        path=path,
        raw=b"",
        value={},
        signature=None,
        mtime=_mtime(folder),
        filed=_filed(place, folder),
    )


def _filed(place: Place, folder: Path) -> str:
    """Where a person filed a thread; the folders above a model are a part of its id."""
    return place.where(folder).rpartition("/")[0] if place.kind is THREADS else ""


def _mtime(folder: Path) -> float:
    signature = signature_at(folder)
    return now() if signature is None else signature.mtime_ns / 1e9  # None: deleted this moment.


class Kept:
    """The documents that were read last, so that a read of an unchanged file is one `stat`."""

    def __init__(self, capacity: int = 256) -> None:
        self._capacity = capacity
        self._guard = threading.Lock()
        self._readings: OrderedDict[Path, Reading] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Kept {len(self._readings)} of {self._capacity}>"

    def current(self, folder: Path) -> Reading | None:
        """What was read, when the file is still as it was then."""
        reading = self._readings.get(folder)
        if reading is None or reading.document is None or not reading.is_settled:
            return None
        is_same = signature_at(reading.document.path) == reading.signature
        return reading if is_same else None

    def last_good(self, folder: Path) -> Document | None:
        reading = self._readings.get(folder)
        return reading.document if reading else None

    def keep(self, folder: Path, reading: Reading) -> None:
        """The last good one is kept until there is another."""
        if reading.document is None:
            return
        with self._guard:
            self._readings[folder] = reading
            self._readings.move_to_end(folder)
            while len(self._readings) > self._capacity:
                self._readings.popitem(last=False)
