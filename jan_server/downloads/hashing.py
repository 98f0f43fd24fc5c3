"""SHA-256 beside whoever writes: neither waits for the other, on a machine with a core to spare."""

from __future__ import annotations

import hashlib
from queue import Queue
from threading import Thread

BEHIND = 16
"""So many pieces may wait to be hashed; then whoever brings more waits."""


class Sha256:
    """Of pieces in their order, in a thread that the first of them starts; `close` ends it."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pieces: Queue[bytes | None] = Queue(BEHIND)
        self._thread: Thread | None = None

    def update(self, piece: bytes) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._run, name="sha256", daemon=True)
            self._thread.start()
        self._pieces.put(piece)

    def hexdigest(self) -> str:
        """Of all pieces so far; waits for them."""
        self.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        """What is waiting is hashed first. More pieces may come."""
        if self._thread is not None:
            self._pieces.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._hash.update(piece)
