"""What the watching child has said and nobody has looked at yet: put together, and never much."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, NamedTuple

MAX_PATHS = 10_000
"""More changed paths than these are not kept apart: everything is looked at."""


class News(NamedTuple):
    """What the child has said since. `ended` is why there is no more to come."""

    paths: frozenset[Path] = frozenset()
    is_ready: bool = False
    is_too_much: bool = False
    ended: str = ""


class Inbox:
    """Keeps what the child says until it is taken: many paths at most, whatever happens."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._news = News()
        self.is_closed = False

    def put(self, kind: str, rest: list[Any]) -> None:
        with self._changed:
            self._news = _with(self._news, kind, rest)
            self._changed.notify()

    def take(self, seconds: float) -> News:
        """What is new; nothing is after so many seconds, or when it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_closed or self._news != News(), max(seconds, 0))
            taken, self._news = self._news, News()
            return taken

    def sleep(self, seconds: float) -> bool:
        """Whether it was closed meanwhile."""
        with self._changed:
            return self._changed.wait_for(lambda: self.is_closed, seconds)

    def clear(self) -> None:
        with self._changed:
            self._news = News()

    def close(self) -> None:
        with self._changed:
            self.is_closed = True
            self._changed.notify()


def _with(news: News, kind: str, rest: list[Any]) -> News:
    match kind:
        case "ready":
            return news._replace(is_ready=True)
        case "paths":
            paths = news.paths.union(map(Path, rest))
            if news.is_too_much or len(paths) > MAX_PATHS:
                return news._replace(paths=frozenset(), is_too_much=True)
            return news._replace(paths=paths)
        case "failed":
            return news._replace(ended=rest[0])
        case _:
            return news._replace(ended=news.ended or f"its process ended with {rest[0]}")
