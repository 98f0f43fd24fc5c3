"""A file of lines beside a thread's messages, which only grows.

Jan reads `thread.json` and `messages.jsonl` alone and passes over it; who moves, copies or deletes
the thread's folder takes it along.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jan_server.errors import FileUnreadable
from jan_server.store.document import written_line
from jan_server.store.jsonl import Record
from jan_server.store.lines import Shared


class Beside:
    """One such file. Raises InvalidId and NotFound for the thread, and FileUnreadable."""

    def __init__(self, shared: Shared, thread_id: str, name: str) -> None:
        self._shared = shared
        self._thread_id = thread_id
        self._name = name

    def __repr__(self) -> str:
        return f"<{self._name} of {self._thread_id}>"

    def records(self) -> Sequence[Record]:
        """Its lines; none when it is not there. Every call looks at the file."""
        path = self._path(self._shared.threads.folder(self._thread_id))
        try:
            return self._shared.histories.read(path, shown=self._shown(path)).records
        except OSError as error:
            reason = f"cannot be read ({error.strerror})"
            raise FileUnreadable(self._shown(path), reason) from error

    def append(self, value: Mapping[str, Any]) -> None:
        """Under the thread's lock. Raises what Files.append raises."""
        with self._shared.threads.hold(self._thread_id) as folder:
            self._shared.files.append(self._path(folder), written_line(value))

    def _path(self, folder: Path) -> Path:
        path = folder / self._name
        place = self._shared.threads.place
        if os.path.islink(path) and not place.is_inside(path):  # noqa: PTH114  # Never raises.
            raise FileUnreadable(place.shown(path), "is a link that leads out of the data folder")
        return path

    def _shown(self, path: Path) -> str:
        return self._shared.threads.place.shown(path)
