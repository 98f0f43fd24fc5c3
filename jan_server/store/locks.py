"""One lock per thing that is changed, within this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary


class Locks:
    """Locks by name. One thread may hold the same lock more than once; unused ones vanish."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: WeakValueDictionary[str, threading.RLock] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"<Locks {len(self._locks)} in use>"

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Wait until nobody else holds that name, and hold it for the block."""
        with self._guard:
            lock = self._locks.get(name)
            if lock is None:
                lock = self._locks[name] = threading.RLock()
        with lock:
            yield
