"""What is remembered of a download: one file each, for us after a crash, and for people.

    .jan_server/downloads/@org%2Fm.json    this record
    .jan_server/downloads/@org%2Fm/        the files that are not whole yet

    {
      "id": "org/m",
      "status": "downloading",
      "started": "2026-01-31T09:30:00Z",
      "updated": "2026-01-31T09:31:05Z",
      "pid": 4711,
      "error": null,
      "files": [
        {"filename": "m.gguf", "url": "https://...", "size": 668788096, "sha256": "9fec...",
         "on_disk": 402653184}
      ],
      "manifest": {...}
    }

`on_disk` bytes of a file are flushed: a power cut keeps them. `queued` and `downloading` are what
the server goes on with when it starts; `stopped` and `failed` wait until somebody asks again. What
is done has no record: the model is there. A record that cannot be understood counts as none, and
all of them can be deleted at any time: a download then begins afresh.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from jan_server.store.files import Files
from jan_server.store.locks import file_name

SUFFIX = ".json"

Status = Literal["queued", "downloading", "stopped", "failed"]


class FileRecord(Struct, kw_only=True, frozen=True):
    """One file, and how many of its bytes are flushed. `size` and `sha256` as far as known."""

    filename: str
    url: str
    size: int | None = None
    sha256: str | None = None
    on_disk: int = 0


class DownloadRecord(Struct, kw_only=True, frozen=True):
    """One download. `pid` is the process that made the record, times are in UTC."""

    id: str
    status: Status
    started: str
    updated: str
    pid: int
    error: str | None = None
    files: tuple[FileRecord, ...] = ()
    manifest: dict[str, Any] = {}

    @property
    def is_unfinished(self) -> bool:
        """Whether somebody is at it, or was when the process ended."""
        return self.status in ("queued", "downloading")

    def of(self, filename: str) -> FileRecord | None:
        return next((file for file in self.files if file.filename == filename), None)


class Records:
    """The records of one data folder. Reading one that is not there costs one `open`."""

    def __init__(self, folder: Path, *, files: Files) -> None:
        self.folder = folder
        self._files = files

    def __repr__(self) -> str:
        return f"<Records in {self.folder}>"

    def read(self, id: str) -> DownloadRecord | None:
        record = self._decoded(self._path(id))
        return record if record is not None and record.id == id else None

    def all(self) -> list[DownloadRecord]:
        """By their ids."""
        try:
            names = sorted(os.listdir(self.folder))  # noqa: PTH208
        except OSError:
            return []
        found = (self._decoded(self.folder / name) for name in names if name.endswith(SUFFIX))
        return [record for record in found if record is not None]

    def write(self, record: DownloadRecord) -> None:
        """Raises as Files.replace."""
        self._files.make_folders(self.folder)
        text = msgspec.json.format(msgspec.json.encode(record), indent=2)
        self._files.replace(self._path(record.id), text + b"\n")

    def remove(self, id: str) -> None:
        self._files.remove(self._path(id))

    def _path(self, id: str) -> Path:
        return self.folder / f"{file_name(id)}{SUFFIX}"

    def _decoded(self, path: Path) -> DownloadRecord | None:
        try:
            raw, _ = self._files.read(path)
            return msgspec.json.decode(raw, type=DownloadRecord)
        except (OSError, ValueError):  # msgspec's are ValueErrors.
            return None


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
