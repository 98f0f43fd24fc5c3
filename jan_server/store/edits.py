"""Changing, deleting and putting back one message: the file is replaced whole.

Every other line stays as it is, byte for byte: blank ones, broken ones, CRLF, a byte order mark,
no newline at the end. A record that is glued to another on one line is changed without that.
Broken lines have no address: nothing here touches them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jan_server.errors import AlreadyExists, JanError, NotFound, WriteUncertain
from jan_server.events import Change
from jan_server.store import deletion, merging
from jan_server.store.history import History, Message, message_event
from jan_server.store.lines import Lines, Shared
from jan_server.store.one_line import changed, read_line, taken_out, with_line

Condition = Callable[[Message], None]
"""Given the message as its line is now; raises when it is not to be changed."""

Edit = Callable[[History], bytes | None]
"""The bytes that a file becomes; None when these are not bytes that it can be done to."""


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
            after = changed(place.message, changes)
            if after.raw == place.message.raw:
                return after

            def edit(history: History) -> bytes | None:
                at = self._place(history, folder, id)
                if at is None or at.message.raw != place.message.raw:
                    return None
                return history.raw[: at.start] + after.raw + history.raw[at.end :]

            self._rewrite(folder, history, edit, id=id, after=after)
            self._publish(folder, "updated", after)
            return after

    def delete(self, id: str, *, condition: Condition) -> Message:
        """Take a message out of the file; first it is put into the trash."""
        with self._shared.threads.hold(self._lines.thread_id) as folder:
            history, place = self._found(folder, id)
            condition(place.message)

            def edit(history: History) -> bytes | None:
                at = self._place(history, folder, id)
                if at is None or at.message.raw != place.message.raw:
                    return None
                start, end = taken_out(history.raw, at.start, at.end)
                return history.raw[:start] + history.raw[end:]

            with self._kept_in_trash(folder, place):
                self._rewrite(folder, history, edit, id=id, after=None)
            self._publish(folder, "deleted", place.message)
            return place.message

    def insert(self, line: bytes, *, after: str | None) -> Message:
        """Put a line back, unchanged: behind the message `after`, at the end when that is gone.

        Without `after` it was the first. Raises AlreadyExists when the thread has its id.
        """
        with self._shared.threads.hold(self._lines.thread_id) as folder:
            history = self._history(folder)
            message = read_line(line)
            if self._place(history, folder, message.id) is not None:
                raise AlreadyExists("message", message.id)

            def edit(history: History) -> bytes | None:
                if self._place(history, folder, message.id) is not None:
                    return None
                at = self._place(history, folder, after) if after else None
                behind = at.end if at else None
                return with_line(history.raw, line, after=behind, is_first=after is None)

            self._rewrite(folder, history, edit, id=message.id, after=message)
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

    def _rewrite(
        self, folder: Path, history: History, edit: Edit, *, id: str, after: Message | None
    ) -> None:
        """`after` is what becomes of the message; None: it goes."""
        ours = edit(history)
        assert ours is not None  # It was made for these bytes.

        def merge(theirs: bytes) -> bytes | None:
            return edit(History(theirs))

        path = self._lines.path(folder)
        with self._shared.threads.index.writing(folder) as writing:
            written = merging.replace(self._shared.files, path, ours, base=history.raw, merge=merge)
            self._shared.told.settle(path, id)
            is_known = written.is_ours and self._lines.wrote(
                folder, ours, written.signature, base=history.raw
            )
            if not is_known:
                self._expect(folder, path, id, after)
            writing.companion = written.signature
            writing.size = len(ours) - len(history.raw)
            writing.is_mixed = not written.is_ours

    def _expect(self, folder: Path, path: Path, id: str, after: Message | None) -> None:
        """Of what is told by us, when others have written as well."""
        if after is None:
            self._shared.told.take_out(path, id)
        else:
            self._lines.expect(folder, [after])

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
        thread_id = self._shared.threads.index.id_of(folder)
        self._shared.publish(message_event(thread_id, message, change=change, cause="api"))
