"""The messages of one thread: the lines of its `messages.jsonl`, in file order.

A message is a line as it is, seen through what lines by hand lack: an id, a time. The file grows
by whole lines, each append one write; nothing here rewrites it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jan_server import ids
from jan_server.errors import FileUnreadable, InvalidRequest, NotFound
from jan_server.store import formats, jsonl
from jan_server.store.collection import Collection
from jan_server.store.document import Document, written_line
from jan_server.store.files import Files
from jan_server.store.history import Histories, History, Message, viewed
from jan_server.store.paths import MESSAGES

MessageList = list[Message]


class Messages:
    """The messages of one thread. Every call looks at the file; appends hold the thread's lock."""

    def __init__(
        self,
        threads: Collection,
        thread_id: str,
        *,
        files: Files,
        histories: Histories,
        generation: formats.Generation,
    ) -> None:
        self.thread_id = thread_id
        self._threads = threads
        self._files = files
        self._histories = histories
        self._generation = generation

    def __repr__(self) -> str:
        return f"<Messages of {self.thread_id}>"

    def list(self) -> MessageList:
        """All messages, in file order. Raises InvalidId, NotFound (thread) and FileUnreadable."""
        return self._viewed(self._threads.folder(self.thread_id))

    def get(self, id: str) -> Message:
        """Raises as `list`, and NotFound (message)."""
        ids.check_lookup_id("message", id)
        for message in self.list():
            if message.id == id:
                return message
        raise NotFound("message", id)

    def problems(self) -> Sequence[str]:
        """What is wrong in the file: `threads/x/messages.jsonl:17:42 expected ','`."""
        path = self._path(self._threads.folder(self.thread_id))
        shown = self._threads.place.shown(path)
        return [
            f"{shown}:{record.problem}"
            for record in self._read(path).records
            if record.problem is not None
        ]

    def first_time(self) -> int | None:
        """The first message's own time, for a thread that has none."""
        records = self._read(self._path(self._threads.folder(self.thread_id))).records
        values = (record.value for record in records if record.value is not None)
        return formats.message_seconds(next(values, {}))

    def append(self, new: Sequence[Mapping[str, Any]]) -> MessageList:
        """Add messages in one write; what they have become.

        Each is `role`, `content` and what else a client may choose (formats.new_message), `id`
        among it. Raises as `list`; InvalidId and InvalidRequest for an id that is not allowed or
        taken; and what Files.append raises.
        """
        with self._threads.hold(self.thread_id) as folder:
            path = self._path(folder)
            history = self._read(path)
            known = [message.id for message in self._seen(history, folder)]
            values = list(
                new_messages(new, thread_id=folder.name, known=known, generation=self._generation)
            )
            lines = tuple(map(written_line, values))
            first = jsonl.count_lines(history.raw) + 1
            if lines:
                self._files.append(path, b"".join(lines))
        return [
            _appended(value, raw, line=first + index)
            for index, (value, raw) in enumerate(zip(values, lines, strict=True))
        ]

    def touch(self) -> None:
        """Let `thread.json` follow: its last update, and `metadata.lastMessage` where that is.

        Callers may wait and do this once for several appends. A file that is broken or not there
        is left alone.
        """
        with self._threads.hold(self.thread_id) as folder:
            document = self._document(folder)
            if document is None or document.stale or not document.raw:
                return
            self._threads.touch(document.id, self._last_message(folder, document.value))

    def _last_message(self, folder: Path, thread: Mapping[str, Any]) -> dict[str, Any]:
        metadata = thread.get("metadata")
        if not isinstance(metadata, Mapping) or "lastMessage" not in metadata:
            return {}
        messages = self._viewed(folder)
        text = formats.message_text(messages[-1].value) if messages else ""
        return {"metadata": {**metadata, "lastMessage": text}}

    def _viewed(self, folder: Path) -> MessageList:
        return self._seen(self._read(self._path(folder)), folder)

    def _seen(self, history: History, folder: Path) -> MessageList:
        return viewed(history.records, before_first=lambda: self._thread_seconds(folder))

    def _thread_seconds(self, folder: Path) -> int:
        document = self._document(folder)
        return formats.thread_times(
            document.value if document else {},
            id=folder.name,
            first_message_time=lambda: None,
            mtime=document.mtime if document else folder.stat().st_mtime,
        ).created

    def _document(self, folder: Path) -> Document | None:
        try:
            return self._threads.get(folder.name)
        except FileUnreadable:  # Its messages are still whole.
            return None

    def _path(self, folder: Path) -> Path:
        path = folder / MESSAGES
        if path.is_symlink() and not self._threads.place.is_inside(path):
            raise FileUnreadable(
                self._threads.place.shown(path), "is a link that leads out of the data folder"
            )
        return path

    def _read(self, path: Path) -> History:
        try:
            return self._histories.read(path, shown=self._threads.place.shown(path))
        except OSError as error:
            place = self._threads.place.shown(path)
            raise FileUnreadable(place, f"cannot be read ({error.strerror})") from error


def new_messages(
    given: Iterable[Mapping[str, Any]],
    *,
    thread_id: str,
    known: Iterable[str],
    generation: formats.Generation,
    path: str = "$",
) -> Iterator[dict[str, Any]]:
    """The messages that these requests become, after those that the thread has.

    A client's own id is kept when it is valid and free. Raises InvalidId and InvalidRequest, whose
    `param` begins with `path`, a JSON path in which `{}` stands for the request's number.
    """
    taken = set(known)
    latest = max(filter(ids.is_ulid, taken), default=None)
    for number, request in enumerate(given):
        chosen = request.get("id")
        if chosen is None:
            id = latest = ids.new_message_id(after=latest)
        else:
            id = _free_id(chosen, taken, param=f"{path.format(number)}.id")
        taken.add(id)
        yield formats.new_message(
            generation, id=id, thread_id=thread_id, now=time.time(), given=request
        )


def _free_id(chosen: str, taken: set[str], *, param: str) -> str:
    ids.check_new_id("message", chosen, param=param)
    if chosen in taken:
        raise InvalidRequest(f"The thread has two messages {chosen!r} then.", param=param)
    return chosen


def _appended(value: Mapping[str, Any], raw: bytes, *, line: int) -> Message:
    seconds = formats.message_seconds(value) or 0
    return Message(
        id=value["id"], value=value, seconds=seconds, raw=raw.removesuffix(b"\n"), line=line
    )
