"""How a document is answered in lists: the bytes, and the time that sorts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from jan_server.store import formats
from jan_server.store.document import Document
from jan_server.store.entries import View
from jan_server.store.paths import THREADS, Place

Body = Callable[[Document, formats.Times, str], bytes]
"""JSON of a document, its times, and the folder that a person filed it into (empty: none)."""


def plain_body(document: Document, _times: formats.Times, _filed: str) -> bytes:
    """The file's object with the address as its id, for those who show nothing to anybody."""
    return msgspec.json.encode({**document.value, "id": document.id})


class Views:
    """`bodies` by the kind's name. `first_message_time` gives the seconds of a folder's first
    message; it is asked for threads whose own file does not say when they were made."""

    def __init__(
        self,
        bodies: Mapping[str, Body],
        *,
        first_message_time: Callable[[Path], float | None],
    ) -> None:
        self._bodies = bodies
        self._first_message_time = first_message_time

    def __repr__(self) -> str:
        return f"<Views of {sorted(self._bodies)}>"

    def view(self, place: Place, document: Document, where: str) -> View:
        times, is_fixed = self._times(place, document)
        filed = where.rpartition("/")[0]
        body = self._bodies.get(place.kind.name, plain_body)
        return View(body=body(document, times, filed), updated=times.updated, is_fixed=is_fixed)

    def _times(self, place: Place, document: Document) -> tuple[formats.Times, bool]:
        """When it was made and last changed, and whether its own file says so."""
        if place.kind is not THREADS:
            made = formats.seconds(document.value.get("created_at")) or document.mtime
            return formats.Times(int(made), made), True
        asked = False

        def first_message_time() -> float | None:
            nonlocal asked
            asked = True
            return self._first_message_time(document.folder)

        times = formats.thread_times(
            document.value,
            id=document.folder.name,
            first_message_time=first_message_time,
            mtime=document.mtime,
        )
        return times, not asked
