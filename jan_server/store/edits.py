"""Changing, deleting and putting back one message: the file is replaced whole.

Every other line stays as it is, byte for byte: blank ones, broken ones, CRLF, a byte order mark,
no newline at the end. A record that is glued to another on one line is changed without that.
Broken lines have no address: nothing here touches them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jan_server.errors import AlreadyExists, InvalidRequest, JanError, NotFound, WriteUncertain
from jan_server.events import Change, Event
from jan_server.store import deletion, formats, jsonl, merging, scanner
from jan_server.store.document import edited, written_line
from jan_server.store.files import signature_at
from jan_server.store.history import History, Message, viewed
from jan_server.store.lines import Lines, Shared

Condition = Callable[[Message], None]
"""Given the message as its line is now; raises when it is not to be changed."""

Edit = Callable[[History], bytes | None]
"""The bytes that a file becomes; None when these are not bytes that it can be done to."""

_PROTECTED = formats.PROTECTED | {"thread_id", "updated"}
_BLANK = b" \t\r\n"
_MISSING = object()


class Place(NamedTuple):
    """Where a message stands: its record's bytes, and the message before it."""

    message: Message
    start: int
    before: str | None

    @property
    def end(self) -> int:
        return self.start + len(self.message.raw)


class Edits:
    """Changes to the messages that one thread has."""

    def __init__(self, shared: Shared, lines: Lines) -> None:
        self._shared = shared
        self._lines = lines

    def __repr__(self) -> str:
        return f"<Edits of {self._lines.thread_id}>"

    def modify(self, id: str, changes: Mapping[str, Any], *, condition: Condition) -> Message:
        """Give keys of a message new values; what it is then."""
        with self._shared.threads.hold(self._lines.thread_id) as folder:
            history, place = self._found(folder, id)
            condition(place.message)
            changed = _changed(place.message, changes)
            if changed.raw == place.message.raw:
                return changed

            def edit(history: History) -> bytes | None:
                at = self._place(history, folder, id)
                if at is None or at.message.raw != place.message.raw:
                    return None
                return history.raw[: at.start] + changed.raw + history.raw[at.end :]

            self._rewrite(folder, history, edit)
            self._publish(folder, "updated", changed)
            return changed

    def delete(self, id: str, *, condition: Condition) -> Message:
        """Take a message out of the file; first it is put into the trash."""
        with self._shared.threads.hold(self._lines.thread_id) as folder:
            history, place = self._found(folder, id)
            condition(place.message)

            def edit(history: History) -> bytes | None:
                at = self._place(history, folder, id)
                if at is None or at.message.raw != place.message.raw:
                    return None
                start, end = _taken_out(history.raw, at)
                return history.raw[:start] + history.raw[end:]

            with self._kept_in_trash(folder, place):
                self._rewrite(folder, history, edit)
            self._publish(folder, "deleted", place.message)
            return place.message

    def insert(self, line: bytes, *, after: str | None) -> Message:
        """Put a line back, unchanged: behind the message `after`, at the end when that is gone.

        Without `after` it was the first. Raises AlreadyExists when the thread has its id.
        """
        with self._shared.threads.hold(self._lines.thread_id) as folder:
            history = self._history(folder)
            message = _read(line)
            if self._place(history, folder, message.id) is not None:
                raise AlreadyExists("message", message.id)

            def edit(history: History) -> bytes | None:
                if self._place(history, folder, message.id) is not None:
                    return None
                at = self._place(history, folder, after) if after else None
                return _with_line(history.raw, line, at, is_first=after is None)

            self._rewrite(folder, history, edit)
            self._publish(folder, "created", message)
            return message

    def _found(self, folder: Path, id: str) -> tuple[History, Place]:
        history = self._history(folder)
        place = self._place(history, folder, id)
        if place is None:
            raise NotFound("message", id)
        return history, place

    def _history(self, folder: Path) -> History:
        """The file as it is now: looked at again, since reading a long one for the first time
        takes longer than anything that follows."""
        self._lines.history(folder)
        return self._lines.history(folder)

    def _place(self, history: History, folder: Path, id: str) -> Place | None:
        records = (record for record in history.records if record.value is not None)
        before = None
        for record, message in zip(records, self._lines.seen(history, folder), strict=True):
            if message.id == id:
                return Place(message, record.offset, before)
            before = message.id
        return None

    def _rewrite(self, folder: Path, history: History, edit: Edit) -> None:
        ours = edit(history)
        assert ours is not None  # It was made for these bytes.

        def merge(theirs: bytes) -> bytes | None:
            return edit(History(theirs, tuple(jsonl.records(theirs))))

        path = self._lines.path(folder)
        with self._shared.threads.index.writing(folder) as writing:
            merging.replace(self._shared.files, path, ours, base=history.raw, merge=merge)
            writing.companion = signature_at(path)
            writing.size = len(ours) - len(history.raw)

    @contextlib.contextmanager
    def _kept_in_trash(self, folder: Path, place: Place) -> Iterator[None]:
        """Around taking it out of the file. When that fails it is not in the trash either."""
        thread_id = self._shared.threads.index.id_of(folder)
        item = deletion.KeptMessage(
            thread_id=thread_id,
            id=place.message.id,
            after=place.before,
            line=place.message.raw.decode(),
        )
        below = f"{deletion.MESSAGES}/{thread_id}"
        trash = self._shared.trash
        kept = trash.keep(msgspec.json.encode(item), below=below, name=item.id)
        try:
            yield
        except WriteUncertain:
            raise
        except JanError:
            with contextlib.suppress(JanError):
                trash.free(kept)
            raise

    def _publish(self, folder: Path, change: Change, message: Message) -> None:
        self._shared.publish(
            Event(
                kind="message",
                id=message.id,
                change=change,
                cause="api",
                etag=None if change == "deleted" else message.etag,
                thread_id=self._shared.threads.index.id_of(folder),
                resource=message,
            )
        )


def _changed(message: Message, changes: Mapping[str, Any]) -> Message:
    """The message with new values, itself when they are its own.

    One that has no id in its line gets its address as one: else it had another address now.
    """
    old = message.value
    new = {key: value for key, value in changes.items() if key not in _PROTECTED}
    if "content" in new:
        new["content"] = formats.message_content(new["content"])
        if scanner.same(formats.message_content(old.get("content")), new["content"]):
            del new["content"]
    if all(scanner.same(old.get(key, _MISSING), value) for key, value in new.items()):
        return message
    if "updated" in old:
        new |= formats.touched(old, time.time())
    if "id" not in old:
        new["id"] = message.id
    raw = edited(message.raw, new) if old else written_line(new).removesuffix(b"\n")
    seen = _read(raw, before=message.seconds)
    # A line whose id is none that can be asked for is reached by a hash of its bytes.
    return seen if _is_hashed(message) else msgspec.structs.replace(seen, id=message.id)


def _is_hashed(message: Message) -> bool:
    return message.id.startswith("line-") and message.value.get("id") != message.id


def _read(line: bytes, *, before: int = 0) -> Message:
    """One record as a message. Raises InvalidRequest when it is none, or not one."""
    found = jsonl.records(line)
    if len(found) != 1 or found[0].value is None or b"\n" in line:
        raise InvalidRequest("This is not the line of one message.")
    return viewed(found, lambda: before)[0]


def _taken_out(raw: bytes, place: Place) -> tuple[int, int]:
    """What goes with a record: its whole line, unless something else stands on that."""
    begin = raw.rfind(b"\n", 0, place.start) + 1
    end = raw.find(b"\n", place.end) + 1 or len(raw)
    mark = len(scanner.BOM) if begin == 0 and raw.startswith(scanner.BOM) else 0
    if (raw[begin + mark : place.start] + raw[place.end : end]).strip(_BLANK):
        return place.start, place.end
    return begin + mark, end


def _with_line(raw: bytes, line: bytes, after: Place | None, *, is_first: bool) -> bytes:
    position = len(raw)
    if after is not None:
        position = raw.find(b"\n", after.end) + 1 or len(raw)
    elif is_first:
        position = len(scanner.BOM) if raw.startswith(scanner.BOM) else 0
    before = raw[:position]
    needs_newline = bool(before.removeprefix(scanner.BOM)) and not before.endswith(b"\n")
    return before + (b"\n" if needs_newline else b"") + line + b"\n" + raw[position:]
