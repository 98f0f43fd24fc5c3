"""The file that is being written: it counts, hashes, goes on from where it was, and gives up."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from threading import Event
from typing import BinaryIO

from jan_server.downloads.flusher import Flusher
from jan_server.downloads.hashing import Sha256
from jan_server.downloads.progress import Meter
from jan_server.downloads.records import FileRecord
from jan_server.errors import DiskFull, DownloadFailed, DownloadStopped

log = logging.getLogger(__name__)

FULL = {errno.ENOSPC, errno.EDQUOT}
CHUNK = 1 << 20


class WrongFile(DownloadFailed):
    """What came is not the file that it should be: its size or its sum is another."""


class PartialFile:
    """An open file, the size and sum it must come to, and whether anybody still wants it.

    It has what huggingface_hub's `http_get` asks of a file. That one may begin again from the start
    (the server refused to continue in the middle), never from elsewhere.

    `kept` is what is remembered of it; it is taken up by `resume`, once it is known what is
    expected. `save` is told that so many bytes are on the disk. Use it in a `with`: at the end all
    that was written is.
    """

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        *,
        meter: Meter,
        stopped: Event,
        kept: FileRecord | None = None,
        flush: Callable[[int], None] = os.fsync,
        save: Callable[[PartialFile, int], None] = lambda _file, _size: None,
    ) -> None:
        self.name = name
        self.meter = meter
        self.expected_size: int | None = None
        self.expected_sha256: str | None = None
        self.was_resumed = False
        self._file = file
        self._stopped = stopped
        self._kept = kept
        self._is_begun = False
        self._size = 0
        self._hash = Sha256()
        self._flusher = Flusher(
            size=self.tell,
            flush=lambda: flush(file.fileno()),
            save=lambda size: save(self, size),
        )

    def __repr__(self) -> str:
        return f"<PartialFile {self.name}, {self._size} of {self.expected_size} bytes>"

    def __enter__(self) -> PartialFile:
        self._flusher.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self._hash.close()
        self._flusher.__exit__(*details)
        if details[0] is None:
            self._flusher.check()

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
            raise DownloadStopped(f"The download of {self.name} was stopped.")

    def raise_if_unverifiable(self) -> None:
        """Before anything is fetched: what could not be checked would not be kept."""
        if self.expected_sha256 is None:
            raise DownloadFailed(
                f"Nobody says which SHA-256 {self.name} must have: "
                "write it as `sha256` into its source in model.json."
            )

    def resume(self) -> int:
        """How many bytes are there to go on from. The first time, what is kept is read and hashed.

        What nobody flushed is cut off: after a power cut it may be anything. What is kept of
        another file is of no use.
        """
        if self._is_begun:
            return self._size
        self._is_begun = True
        kept = self._kept.on_disk if self._kept else 0
        if self._kept and kept and self._kept.sha256 != self.expected_sha256:
            log.warning("%s is another file now than the one that was begun: afresh", self.name)
            kept = 0
        if kept:
            self._read_kept(kept)
            log.info("%s: going on from byte %d", self.name, self._size)
        self.truncate()
        self.was_resumed = self._size > 0
        return self._size

    def restart(self) -> None:
        """From the first byte; what was written is gone."""
        self._is_begun = True
        self.was_resumed = False
        self.seek(0)
        self.truncate()

    def write(self, data: bytes) -> int:
        self.raise_if_stopped()
        self._flusher.check()
        size = self._size + len(data)
        if self.expected_size is not None and size > self.expected_size:
            raise _wrong_size(self.name, self.expected_size, f"more than {self.expected_size}")
        self._write_all(data)
        self._hash.update(data)
        self._size = size
        self.meter.update(size)
        return len(data)

    def tell(self) -> int:
        return self._size

    def seek(self, offset: int) -> int:
        if offset != 0:
            raise ValueError("a partial file begins again from its start or not at all")
        self._flusher.begin_again(self._rewind)
        return 0

    def truncate(self) -> int:
        return self._file.truncate(self._size)

    def finish(self) -> int:
        """Check sum and size, and return the size. Raises WrongFile."""
        self._flusher.check()
        if self.expected_size not in (None, self._size):
            raise _wrong_size(self.name, self.expected_size, self._size)
        if self._hash.hexdigest() != self.expected_sha256:
            raise _wrong_sum(self.name, self.expected_sha256, self._hash.hexdigest())
        return self._size

    def _read_kept(self, size: int) -> None:
        self.meter.begin("verifying", size)
        self._file.seek(0)
        while self._size < size and (data := self._file.read(min(CHUNK, size - self._size))):
            self.raise_if_stopped()
            self._hash.update(data)
            self._size += len(data)
            self.meter.update(self._size)

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                # The file is unbuffered: one call may take a part only, the next says why.
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            if error.errno in FULL:
                raise DiskFull(
                    f"The disk is full: {self.name} is not whole. What is there waits: make room "
                    "and ask again, or stop the download to free it."
                ) from error
            raise DownloadFailed(f"{self.name} was not written: {error.strerror}.") from error

    def _rewind(self) -> None:
        self._size = self._file.seek(0)
        self._hash.close()
        self._hash = Sha256()


def _wrong_size(name: str, expected: int | None, found: int | str) -> WrongFile:
    return WrongFile(
        f"{name} has {found} bytes where {expected} were expected: cut short, or another file. "
        "Nothing was kept; try again."
    )


def _wrong_sum(name: str, expected: str | None, found: str) -> WrongFile:
    return WrongFile(
        f"{name} is not the file it should be: its SHA-256 is {found}, expected was {expected}. "
        "Nothing was kept."
    )
