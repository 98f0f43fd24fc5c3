"""The file that is being written: it counts, hashes, and knows when to give up."""

from __future__ import annotations

import errno
import hashlib
from threading import Event
from typing import BinaryIO

from jan_server.downloads.progress import Meter
from jan_server.errors import DiskFull, DownloadFailed, DownloadStopped

FULL = {errno.ENOSPC, errno.EDQUOT}


class PartialFile:
    """An open file, the size and sum it must come to, and whether anybody still wants it.

    It has what huggingface_hub's `http_get` asks of a file. That one may begin again from the start
    (the server refused to continue in the middle), never from elsewhere.
    """

    def __init__(self, file: BinaryIO, name: str, *, meter: Meter, stopped: Event) -> None:
        self.name = name
        self.meter = meter
        self.expected_size: int | None = None
        self.expected_sha256: str | None = None
        self._file = file
        self._stopped = stopped
        self._size = 0
        self._hash = hashlib.sha256()

    def __repr__(self) -> str:
        return f"<PartialFile {self.name}, {self._size} of {self.expected_size} bytes>"

    def expect(self, *, size: int | None, sha256: str | None) -> None:
        """What somebody says of the file. Two who contradict each other end the download."""
        if size is not None:
            if self.expected_size not in (None, size):
                raise _wrong_size(self.name, self.expected_size, size)
            self.expected_size = size
        if sha256 is not None:
            if self.expected_sha256 not in (None, sha256.lower()):
                raise _wrong_sum(self.name, self.expected_sha256, sha256.lower())
            self.expected_sha256 = sha256.lower()

    def raise_if_stopped(self) -> None:
        if self._stopped.is_set():
            raise DownloadStopped(f"The download of {self.name} was stopped; nothing was kept.")

    def raise_if_unverifiable(self) -> None:
        """Before anything is fetched: what could not be checked would not be kept."""
        if self.expected_sha256 is None:
            raise DownloadFailed(
                f"Nobody says which SHA-256 {self.name} must have: "
                "write it as `sha256` into its source in model.json."
            )

    def write(self, data: bytes) -> int:
        self.raise_if_stopped()
        size = self._size + len(data)
        if self.expected_size is not None and size > self.expected_size:
            raise _wrong_size(self.name, self.expected_size, f"more than {self.expected_size}")
        try:
            self._file.write(data)
        except OSError as error:
            if error.errno in FULL:
                raise DiskFull(f"The disk is full: {self.name} was not kept.") from error
            raise DownloadFailed(f"{self.name} was not written: {error.strerror}.") from error
        self._hash.update(data)
        self._size = size
        self.meter.update(size)
        return len(data)

    def tell(self) -> int:
        return self._size

    def seek(self, offset: int) -> int:
        if offset != 0:
            raise ValueError("a partial file begins again from its start or not at all")
        self._size = self._file.seek(0)
        self._hash = hashlib.sha256()
        return 0

    def truncate(self) -> int:
        return self._file.truncate(self._size)

    def finish(self) -> int:
        """Check sum and size, and return the size."""
        if self.expected_size not in (None, self._size):
            raise _wrong_size(self.name, self.expected_size, self._size)
        if self._hash.hexdigest() != self.expected_sha256:
            raise _wrong_sum(self.name, self.expected_sha256, self._hash.hexdigest())
        return self._size


def _wrong_size(name: str, expected: int | None, found: int | str) -> DownloadFailed:
    return DownloadFailed(
        f"{name} has {found} bytes where {expected} were expected: cut short, or another file. "
        "Nothing was kept; try again."
    )


def _wrong_sum(name: str, expected: str | None, found: str) -> DownloadFailed:
    return DownloadFailed(
        f"{name} is not the file it should be: its SHA-256 is {found}, expected was {expected}. "
        "Nothing was kept."
    )
