"""What is told while a download runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

Phase = Literal["downloading", "verifying", "publishing", "present"]

INTERVAL = 0.1
"""Seconds between two reports of the same phase."""


class DownloadProgress(Struct, kw_only=True, frozen=True):
    """How far one file is. `present` means that it was there already, whole.

    `bytes_total` is None while nobody knows it; `rate` is in bytes per second, over the phase.
    """

    id: str
    file: str
    phase: Phase
    bytes_done: int = 0
    bytes_total: int | None = None
    rate: float = 0.0


OnProgress = Callable[[DownloadProgress], None]


class Meter:
    """Counts the bytes of one file and reports now and then; a new phase is reported at once."""

    def __init__(self, id: str, file: str, on_progress: OnProgress) -> None:
        self._id = id
        self._file = file
        self._on_progress = on_progress
        self._phase: Phase = "downloading"
        self._total: int | None = None
        self._began = self._told = time.monotonic()

    def begin(self, phase: Phase, total: int | None) -> None:
        self._phase, self._total = phase, total
        self._began = time.monotonic()
        self._tell(0)

    def update(self, done: int) -> None:
        """So many bytes of the phase are done."""
        if done == self._total or time.monotonic() - self._told >= INTERVAL:
            self._tell(done)

    def _tell(self, done: int) -> None:
        self._told = time.monotonic()
        elapsed = self._told - self._began
        self._on_progress(
            DownloadProgress(
                id=self._id,
                file=self._file,
                phase=self._phase,
                bytes_done=done,
                bytes_total=self._total,
                rate=done / elapsed if elapsed else 0.0,
            )
        )
