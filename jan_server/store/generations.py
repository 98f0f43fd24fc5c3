"""Whose shape new files get: Jan 0.4's (A), or today's Jan's (C), as the folder shows it.

Today's Jan shows none of the threads that it cannot read in its own shape, so in a folder that it
uses all new files are of that. Files that are there keep the shape that they have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from jan_server import ids
from jan_server.store import formats
from jan_server.store.formats import Generation
from jan_server.store.signature import signature_at


class Generations:
    """Of one data folder. `chosen`: whatever the folder shows, this one.

    `thread_names` gives the names in its `threads/`, the same object while those are the same.
    """

    def __init__(
        self,
        root: Path,
        *,
        thread_names: Callable[[], Iterable[str]],
        chosen: Generation | None = None,
    ) -> None:
        self._root = root
        self._thread_names = thread_names
        self._chosen = chosen
        self._names: Iterable[str] = ()
        self._has_todays_threads = False
        self._lately: tuple[int, Generation] = (-1, "A")

    def __repr__(self) -> str:
        return f"<Generations {self.now()}>"

    def now(self) -> Generation:
        """A few `stat`. Raises FileUnreadable when the threads cannot be listed."""
        if self._chosen is not None:
            return self._chosen
        signs = [sign for sign in formats.SIGNS_OF_TODAY if signature_at(f"{self._root}/{sign}")]
        if not signs and self._todays_threads():
            return "C"
        return formats.generation(signs)

    def lately(self) -> Generation:
        """For messages, of which there may be a thousand a second: looked at once in each."""
        second = int(time.monotonic())
        if self._lately[0] != second:
            self._lately = (second, self.now())
        return self._lately[1]

    def _todays_threads(self) -> bool:
        """Today's Jan alone names threads by UUIDs."""
        names = self._thread_names()
        if names is not self._names:
            self._has_todays_threads = any(map(ids.is_uuid, names))
            self._names = names
        return self._has_todays_threads
