"""What is told while a download runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

Phase = Literal["queued", "downloading", "verifying", "publishing", "present"]

INTERVAL = 0.1
"""Seconds between two reports of the same phase."""


class DownloadProgress(Struct, kw_only=True, frozen=True):
    """How far a model is. `present` means that the file was there already, whole.

    Bytes are of all its files in the phases `downloading` and `publishing`, of the one that is read
    in `verifying`: what is there is read again before a download goes on. `bytes_total` is None
    while nobody knows it; `rate` is in bytes per second, since the phase began.
    """

    id: str
    file: str
    phase: Phase
    bytes_done: int = 0
    bytes_total: int | None = None
    rate: float = 0.0


OnProgress = Callable[[DownloadProgress], None]


class Meter:
    """Counts the bytes of one file and reports now and then; a new phase is reported at once.

    `before` are the bytes of the model's files that are done, `after` those of the files that are
    to come, None when nobody knows.
    """

    def __init__(
        self, id: str, file: str, on_progress: OnProgress, *, before: int = 0, after: int | None = 0
    ) -> None:
        self._id = id
        self._file = file
        self._on_progress = on_progress
        self._before = before
        self._after = after
        self._phase: Phase = "downloading"
        self._total: int | None = None
        self._start = 0
        self._began = self._told = time.monotonic()

    def begin(self, phase: Phase, total: int | None, *, done: int = 0) -> None:
        """From now on it is this; `done` bytes are there already and are not of its rate."""
        self._phase, self._total, self._start = phase, total, done
        self._began = time.monotonic()
        self._tell(done)

    def update(self, done: int) -> None:
        """So many bytes of the phase are done."""
        if done == self._total or time.monotonic() - self._told >= INTERVAL:
            self._tell(done)

    def _tell(self, done: int) -> None:
        self._told = time.monotonic()
        elapsed = self._told - self._began
        whole = self._phase != "verifying"
        self._on_progress(
            DownloadProgress(
                id=self._id,
                file=self._file,
                phase=self._phase,
                bytes_done=done + (self._before if whole else 0),
                bytes_total=self._of_all() if whole else self._total,
                rate=max(0.0, (done - self._start) / elapsed) if elapsed else 0.0,
            )
        )

    def _of_all(self) -> int | None:
        if self._total is None or self._after is None:
            return None
        return self._before + self._total + self._after
