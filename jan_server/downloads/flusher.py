"""Flushing a file that grows, beside whoever writes it: writing does not wait for the disk."""

from __future__ import annotations

import threading
from collections.abc import Callable

INTERVAL = 1.0
"""Seconds between two flushes: what a power cut costs at most."""


class Flusher:
    """A thread, for a block. `flush` puts what is written on the disk, `save` notes how far.

    `size` says how much is written. What goes wrong is raised to the writer by `check`, for good:
    after a flush that failed nobody knows what the disk has.
    """

    def __init__(
        self, *, size: Callable[[], int], flush: Callable[[], None], save: Callable[[int], None]
    ) -> None:
        self._size = size
        self._flush = flush
        self._save = save
        self._saved = size()
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)

    def __repr__(self) -> str:
        return f"<Flusher {self._saved} of {self._size()} bytes>"

    def __enter__(self) -> Flusher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What was written is on the disk, unless `check` says why not."""
        self._ended.set()
        self._thread.join()
        self._save_now()

    def check(self) -> None:
        """Raises what went wrong."""
        if self._error is not None:
            raise self._error

    def begin_again(self, truncate: Callable[[], None]) -> None:
        """The file is written from its start: what was noted holds no more, before it is cut."""
        with self._guard:
            self._save(0)
            self._saved = 0
            truncate()

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL):
            self._save_now()

    def _save_now(self) -> None:
        with self._guard:
            size = self._size()
            if size == self._saved or self._error is not None:
                return
            try:
                self._flush()
                self._save(size)
                self._saved = size
            except Exception as error:  # noqa: BLE001 - whatever it is, the writer is told
                self._error = error
