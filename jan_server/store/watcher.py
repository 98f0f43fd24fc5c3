"""Hears of changes in folders as they happen, and says where to look again.

A path means "look again", nothing more: a rename is told as something added, an overflow of the
system's queue drops changes without a word, links make one file reachable by two paths. So answers
never depend on this, and everything is looked at besides: when a watch begins (what changed before
it), every `reconcile` seconds, and every `poll` seconds while there is no watch. Looking at
everything never takes more than a tenth of the time.

The watch itself runs in another process (`watch_child.py`), which is started again when it ends. It
ends at a name that is not UTF-8, when a folder is moved or replaced (its inode is compared once a
second), when the system allows no more watches, and when somebody kills it. Links below a root are
followed by watchfiles: one to a large tree costs watches.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jan_server.logs import frames
from jan_server.store import paths
from jan_server.store.watch_process import WatchProcess

logger = logging.getLogger(__name__)

RECONCILE_SECONDS = 60.0
POLL_SECONDS = 2.0
CHECK_SECONDS = 1.0
FIRST_DELAY = 0.1
LONGEST_DELAY = 30.0
MAX_PATHS = 10_000
"""More changed paths than these are not kept apart: everything is looked at."""

SKIP = (paths.WORK_FOLDER, ".git")
"""Beginnings of names that are not told: our own folder and temporary files, and git's."""

ADVICE = {
    "OS file watch limit reached": "raise fs.inotify.max_user_watches (sysctl)",
    "Too many open files": "raise fs.inotify.max_user_instances (sysctl)",
    "Permission denied": "make that folder readable, or move it out",
    "Unable to decode path": "give that file a name in UTF-8",
}
LIMITS = ("OS file watch limit reached", "Too many open files", "Permission denied")
"""What a new attempt does not change by itself."""

Identity = tuple[tuple[int, int] | None, ...]


class Watcher:
    """A thread that calls `look` and `look_everywhere`, never two at a time.

    `roots` are watched as far as they are there, with what is below them; `look` gets paths below
    the roots as given here. `look_everywhere` gets the reason. What they raise is logged.
    `polling` is for network folders: watchfiles looks at every file again and again.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        *,
        look: Callable[[frozenset[Path]], None],
        look_everywhere: Callable[[str], None],
        polling: bool = False,
        reconcile: float = RECONCILE_SECONDS,
        poll: float = POLL_SECONDS,
        check: float = CHECK_SECONDS,
    ) -> None:
        self._roots = tuple(roots)
        self._look = look
        self._look_everywhere = look_everywhere
        self._polling = polling
        self._periods = {True: reconcile, False: poll}
        self._check = check
        self._inbox = _Inbox()
        self._is_watching = False
        self._due = 0.0
        self._delay = FIRST_DELAY
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def __repr__(self) -> str:
        state = "watching" if self._is_watching else "polling"
        return f"<Watcher {state} {', '.join(map(str, self._roots))}>"

    def start(self) -> None:
        """Returns at once; the first `look_everywhere` comes when the watch is on."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and its process; waits for a call that runs. Also when never started."""
        self._inbox.close()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._inbox.is_closed:
            began, identity = time.monotonic(), self._identity()
            reason = self._watch(identity)
            self._is_watching = False
            if self._inbox.is_closed or not reason:
                continue
            _report(reason, self._periods[False])
            self._delay = self._next_delay(reason, lasted=time.monotonic() - began)
            self._wait(self._delay, identity)

    def _watch(self, identity: Identity) -> str:
        """Watch until that ends, and say why; nothing where the folders have changed."""
        there = [root for root, inode in zip(self._roots, identity, strict=True) if inode]
        if not there:
            self._everywhere("the folders are not there")
            self._wait(float("inf"), identity)
            return ""
        self._inbox.clear()
        try:
            process = WatchProcess(
                _outermost(there), skip=SKIP, polling=self._polling, told=self._inbox.put
            )
        except OSError as error:
            return f"no process can be started: {error}"
        try:
            return self._follow(identity)
        finally:
            process.close()

    def _follow(self, identity: Identity) -> str:
        self._plan()
        check_due = time.monotonic() + self._check
        while not self._inbox.is_closed:
            news = self._inbox.take(min(self._due, check_due) - time.monotonic())
            if news.is_ready or time.monotonic() >= check_due:
                if self._identity() != identity:
                    return ""
                check_due = time.monotonic() + self._check
            self._answer(news)
            if news.ended:
                return news.ended
        return ""

    def _answer(self, news: News) -> None:
        if news.is_ready:
            logger.info("watching %s", ", ".join(map(str, self._roots)))
            self._is_watching = True
            self._everywhere("the watch has begun")
        elif news.is_too_much:
            self._everywhere("many files have changed")
        elif news.paths:
            _guarded(self._look, news.paths)
        if time.monotonic() >= self._due:
            self._everywhere("some time has passed")

    def _wait(self, seconds: float, identity: Identity) -> None:
        """Without a watch: look at everything now and then, until another folder is there."""
        end = time.monotonic() + seconds
        self._plan()
        while (left := end - time.monotonic()) > 0 and self._identity() == identity:
            if self._inbox.sleep(min(left, self._check, max(self._due - time.monotonic(), 0))):
                return
            if time.monotonic() >= self._due:
                self._everywhere("there is no watch")

    def _everywhere(self, reason: str) -> None:
        began = time.monotonic()
        _guarded(self._look_everywhere, reason)
        self._plan(9 * (time.monotonic() - began))

    def _plan(self, at_least: float = 0.0) -> None:
        self._due = time.monotonic() + max(self._periods[self._is_watching], at_least)

    def _identity(self) -> Identity:
        return tuple(map(_inode, self._roots))

    def _next_delay(self, reason: str, *, lasted: float) -> float:
        if any(limit in reason for limit in LIMITS):
            return LONGEST_DELAY
        return FIRST_DELAY if lasted > 10 * self._delay else min(2 * self._delay, LONGEST_DELAY)


class News(NamedTuple):
    """What the child has said since. `ended` is why there is no more to come."""

    paths: frozenset[Path] = frozenset()
    is_ready: bool = False
    is_too_much: bool = False
    ended: str = ""


class _Inbox:
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


def _outermost(roots: Sequence[Path]) -> list[Path]:
    """Without those that lie in another one."""
    return [root for root in dict.fromkeys(roots) if not any(p in roots for p in root.parents)]


def _inode(root: Path) -> tuple[int, int] | None:
    try:
        status = root.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _report(reason: str, poll: float) -> None:
    advice = "".join(f" To mend it: {text}." for sign, text in ADVICE.items() if sign in reason)
    logger.warning(
        "the data folder is not watched: %s.%s Until it is, it is looked at every %g s.",
        reason,
        advice,
        poll,
    )


def _guarded(call: Callable[[Any], None], value: Any) -> None:
    try:
        call(value)
    except Exception as error:  # noqa: BLE001 - one bad look must not end the watch
        logger.error("looking at what has changed failed:\n%s", frames(error))
