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
from typing import Any

from jan_server.errors import JanError
from jan_server.logs import frames
from jan_server.store import paths
from jan_server.store.watch_news import Inbox, News
from jan_server.store.watch_process import WatchProcess

logger = logging.getLogger(__name__)

RECONCILE_SECONDS = 60.0
POLL_SECONDS = 2.0
CHECK_SECONDS = 1.0
FIRST_DELAY = 0.1
LONGEST_DELAY = 30.0
MANY_PATHS = 1000
"""After so many at once the system's queue may have overflowed: everything is looked at soon."""

SKIP = (paths.WORK_FOLDER, ".git")
"""Beginnings of names that are not told: our own folder and temporary files, and git's."""

ADVICE = {
    "OS file watch limit reached": "raise fs.inotify.max_user_watches (sysctl)",
    "Too many open files": "raise fs.inotify.max_user_instances (sysctl) or ulimit -n",
    "Permission denied": "make that folder readable, or move it out",
    "Unable to decode path": "give that file a name in UTF-8",
    "surrogates not allowed": "give the data folder a name in UTF-8",
}
LASTING = frozenset(ADVICE) - {"Unable to decode path"}
"""What a new attempt meets again, until somebody does something about it."""

MOVED = "a folder was moved or replaced"

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
        self._inbox = Inbox()
        self._is_watching = False
        self._due = 0.0
        self._delay = FIRST_DELAY
        self._trouble = ""
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
            if reason and not self._inbox.is_closed:
                lasted = time.monotonic() - began
                self._report(reason, lasted=lasted)
                self._delay = self._next_delay(reason, lasted=lasted)
                self._wait(self._delay, identity)

    def _watch(self, identity: Identity) -> str:
        """Watch until that ends, and say why; nothing when there was nothing to watch."""
        there = [root for root, inode in zip(self._roots, identity, strict=True) if inode]
        if not there:
            self._everywhere("the folders are not there")
            while self._identity() == identity and not self._inbox.sleep(self._check):
                pass
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
                    return MOVED
                check_due = time.monotonic() + self._check
            self._answer(news)
            if news.ended:
                return news.ended
        return ""

    def _answer(self, news: News) -> None:
        if news.is_ready:
            logger.log(logging.INFO if self._trouble else logging.DEBUG, "watching")
            self._is_watching = True
            self._everywhere("the watch has begun")
        elif news.is_too_much:
            self._everywhere("many files have changed")
        elif news.paths:
            is_seen = _guarded(self._look, news.paths)
            if not is_seen or len(news.paths) > MANY_PATHS:
                self._due = min(self._due, time.monotonic() + self._check)
        if time.monotonic() >= self._due:
            self._everywhere("some time has passed")

    def _wait(self, seconds: float, identity: Identity) -> None:
        """Without a watch: look at everything now and then, until another root is there."""
        # Not until an inode is another one: network folders may number theirs anew all the time.
        there = list(map(bool, identity))
        end = time.monotonic() + seconds
        self._plan()
        while (left := end - time.monotonic()) > 0 and list(map(bool, self._identity())) == there:
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
        if any(sign in reason for sign in LASTING):
            return LONGEST_DELAY
        return FIRST_DELAY if lasted > LONGEST_DELAY else min(2 * self._delay, LONGEST_DELAY)

    def _report(self, reason: str, *, lasted: float) -> None:
        """What keeps happening is said once."""
        is_news = reason != self._trouble or lasted > LONGEST_DELAY
        self._trouble = reason
        advice = "".join(f" To mend it: {text}." for sign, text in ADVICE.items() if sign in reason)
        logger.log(
            logging.WARNING if is_news else logging.DEBUG,
            "the data folder is not watched: %s.%s Until it is, it is looked at every %g s.",
            reason.removesuffix("."),
            advice,
            self._periods[False],
        )


def _outermost(roots: Sequence[Path]) -> list[Path]:
    """Without those that lie in another one."""
    return [root for root in dict.fromkeys(roots) if not any(p in roots for p in root.parents)]


def _inode(root: Path) -> tuple[int, int] | None:
    try:
        status = root.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _guarded(call: Callable[[Any], None], value: Any) -> bool:
    """Whether it went well."""
    try:
        call(value)
        return True
    except JanError as error:
        logger.warning("%s", error.message)
        return False
    except Exception as error:  # noqa: BLE001 - one bad look must not end the watch
        logger.error("looking at what has changed failed:\n%s", frames(error))
        return False
