"""Reading the messages of one thread: all, the last ones, those that were added since.

What only the end of a file was read for has one gap: an id that is used twice is numbered (`.2`)
as far as the lines that were read can tell.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from jan_server.errors import FileUnreadable
from jan_server.events import Publish
from jan_server.store import formats, jsonl
from jan_server.store.answers import Answers
from jan_server.store.collection import Collection
from jan_server.store.document import Document
from jan_server.store.ends import Ends
from jan_server.store.files import Files
from jan_server.store.histories import Histories
from jan_server.store.history import History, Message, viewed
from jan_server.store.locks import Locks
from jan_server.store.paths import MESSAGES
from jan_server.store.replies import Replies
from jan_server.store.signature import Signature, signature_at
from jan_server.store.tail import tails
from jan_server.store.told import MAX_UNKNOWN, Told
from jan_server.store.trash import Trash

_USUAL = 1024
"""Bytes of a line: what is read first for each message that is asked for."""

_UNKNOWN = -1


class Shared(NamedTuple):
    """What the messages of all threads have in common. `torn` is a folder that may be missing."""

    threads: Collection
    files: Files
    histories: Histories
    ends: Ends
    answers: Answers
    told: Told
    tell_again: Callable[[Path], None]
    replies: Replies
    claims: Locks
    trash: Trash
    torn: Path
    publish: Publish
    generation: Callable[[], formats.Generation]


class Lines:
    """The file of one thread, read. What cannot be read raises FileUnreadable."""

    def __init__(self, shared: Shared, thread_id: str) -> None:
        self.thread_id = thread_id
        self._shared = shared

    def __repr__(self) -> str:
        return f"<Lines of {self.thread_id}>"

    def folder(self) -> Path:
        """Raises InvalidId and NotFound (thread)."""
        return self._shared.threads.folder(self.thread_id)

    def path(self, folder: Path) -> Path:
        """The file, there or not."""
        path = folder / MESSAGES
        place = self._shared.threads.place
        if os.path.islink(path) and not place.is_inside(path):  # noqa: PTH114  # Never raises.
            raise FileUnreadable(place.shown(path), "is a link that leads out of the data folder")
        return path

    def shown(self, folder: Path) -> str:
        return self._shared.threads.place.shown(folder / MESSAGES)

    def history(self, folder: Path) -> History:
        """The whole file as it is now."""
        if self.current(folder) is None:
            self._shared.threads.index.notice(folder)
        history, signature = self.read(folder)
        self._is_told(folder, history, signature)
        return history

    def read(self, folder: Path) -> tuple[History, Signature | None]:
        """The same, for those who tell what has changed in it; and its signature."""
        try:
            return self._shared.histories.read_signed(self.path(folder), shown=self.shown(folder))
        except OSError as error:
            raise self.unreadable(folder, error) from error

    def wrote(self, folder: Path, ours: bytes, signature: Signature, *, base: bytes) -> bool:
        """We put these bytes in the place of `base`. Whether `base` is what was told of."""
        path, history = self.path(folder), History(ours)
        self._shared.histories.wrote(path, history, signature)
        return self._shared.told.replaced(path, base, history, signature)

    def expect(self, folder: Path, messages: Iterable[Message]) -> None:
        """We tell of these, and another program may have cut them off at once."""
        path = self.path(folder)
        there = signature_at(path)
        if self._shared.told.knows(path) or there is None or there.size <= MAX_UNKNOWN:
            self._shared.told.expect(path, messages)
            self._shared.tell_again(path)

    def raw(self, folder: Path) -> bytes:
        """The whole file as it is now, and nothing is made of it or kept."""
        try:
            return self._shared.files.read(self.path(folder))[0]
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self.unreadable(folder, error) from error

    def current(self, folder: Path) -> History | None:
        """The whole file, when it was read before and is as it was: two `stat`."""
        path = self.path(folder)
        try:
            return self._shared.histories.current(path)
        except OSError as error:
            raise self.unreadable(folder, error) from error

    def messages(self, folder: Path) -> Sequence[Message]:
        """All of them, in the order of the file."""
        return self.seen(self.history(folder), folder)

    def seen(self, history: History, folder: Path) -> Sequence[Message]:
        return history.messages(lambda: self._thread_seconds(folder))

    def last(self, folder: Path, count: int) -> tuple[Sequence[Message], bool]:
        """The last `count`, at least one, in the order of the file; whether there are others."""
        history = self.current(folder)
        if history is not None:
            found = self.seen(history, folder)
            return found[-count:], len(found) > count
        try:
            return self._read_last(folder, count)
        except FileNotFoundError:
            return [], False
        except OSError as error:
            raise self.unreadable(folder, error) from error

    def added_since(self, folder: Path, size: int) -> Sequence[Message] | None:
        """Those on lines that begin at byte `size` or later; None when no line begins there."""
        try:
            # With the byte before it, which tells whether a line begins there.
            raw, _ = self._shared.files.read_from(self.path(folder), max(0, size - 1))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.unreadable(folder, error) from error
        if size and not raw.startswith(b"\n"):
            return None
        records = jsonl.records(raw, start=1 if size else 0)
        return viewed(records, lambda: self._seconds_before(folder, size))

    def _is_told(self, folder: Path, history: History, signature: Signature | None) -> None:
        """What was read first is what was told, when nobody has written since."""
        path = self.path(folder)
        if self._shared.told.knows(path):
            return
        with self._shared.threads.index.holding(folder) as told:
            if told is not None and told == signature:
                self._shared.told.keep_first(path, signature, history)

    def _read_last(self, folder: Path, count: int) -> tuple[Sequence[Message], bool]:
        path = self.path(folder)
        for tail in tails(self._shared.files, path, length=(count + 1) * _USUAL):
            found = viewed(
                tail.records,
                (lambda: self._thread_seconds(folder)) if tail.is_whole else (lambda: _UNKNOWN),
            )
            has_more = len(found) > count
            if tail.is_whole or (has_more and found[-count].seconds != _UNKNOWN):
                break
        return found[-count:], has_more

    def _seconds_before(self, folder: Path, size: int) -> int:
        """The time that a message at this byte has when it says none itself."""
        earlier = [record for record in self.history(folder).records if record.offset < size]
        found = viewed(earlier, lambda: self._thread_seconds(folder))
        return found[-1].seconds if found else self._thread_seconds(folder)

    def _thread_seconds(self, folder: Path) -> int:
        document = self.document()
        return formats.thread_times(
            document.value if document else {},
            id=folder.name,
            first_message_time=lambda: None,
            mtime=document.mtime if document else folder.stat().st_mtime,
        ).created

    def document(self) -> Document | None:
        """The thread's own; None when it is broken, and its messages are still whole."""
        try:
            return self._shared.threads.get(self.thread_id)
        except FileUnreadable:
            return None

    def unreadable(self, folder: Path, error: OSError) -> FileUnreadable:
        return FileUnreadable(self.shown(folder), f"cannot be read ({error.strerror})")
