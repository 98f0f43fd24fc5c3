"""The messages of one thread: the lines of its `messages.jsonl`, in file order.

A message is a line as it is, seen through what lines by hand lack: an id, a time. How the file is
read is in lines.py, how it grows in appends.py, how one message is changed in edits.py.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jan_server import ids
from jan_server.errors import JanError, NotFound
from jan_server.events import Change
from jan_server.store import formats
from jan_server.store.appends import Appends
from jan_server.store.edits import Condition, Edits
from jan_server.store.history import History, Message, message_changes
from jan_server.store.lines import Lines, Shared
from jan_server.store.new_messages import Batch, Outcome
from jan_server.store.replies import Reply
from jan_server.store.signature import Signature, signature_at
from jan_server.store.told import MAX_UNKNOWN

MessageList = list[Message]


class Changes(NamedTuple):
    """What others changed, and the signature of the file that was looked at.

    Not all when something changed and that is no message, or it is not known which.
    """

    messages: Sequence[tuple[Change, Message]]
    signature: Signature | None
    are_all: bool


def always(_message: Message) -> None:
    """The condition of those who have none."""


class Messages:
    """The messages of one thread. Every call looks at the file; changes hold the thread's lock.

    All raise InvalidId and NotFound for the thread, and FileUnreadable.
    """

    def __init__(self, shared: Shared, thread_id: str) -> None:
        self.thread_id = thread_id
        self._shared = shared
        self._lines = Lines(shared, thread_id)

    def __repr__(self) -> str:
        return f"<Messages of {self.thread_id}>"

    def folder(self) -> Path:
        return self._lines.folder()

    def list(self) -> MessageList:
        """All messages, in file order, and after them the replies that still grow."""
        folder = self.folder()
        return self._shared.replies.merged(self, folder, lambda: self._lines.messages(folder))

    def lines(self) -> MessageList:
        """Those that are lines of the file."""
        return list(self._lines.messages(self.folder()))

    def raw(self) -> bytes:
        """The file as it is now, for whoever looks at it once; empty when it is not there."""
        return self._lines.raw(self.folder())

    def last(self, count: int) -> tuple[MessageList, bool]:
        """The last `count`, at least one, in file order; whether there are others before them.

        Only the end of a long file is read. An id that is used twice is numbered as far as that
        can tell.
        """
        folder = self.folder()
        self._shared.replies.recover(self, folder)
        pending = self._shared.replies.pending(folder)
        found, has_more = self._lines.last(folder, count)
        known = {message.id for message in found}
        shown = [*found, *(reply for reply in pending if reply.id not in known)]
        return shown[-count:], has_more or len(shown) > count

    def get(self, id: str) -> Message:
        """Raises InvalidId and NotFound (message) too."""
        ids.check_lookup_id("message", id)
        for message in self.list():
            if message.id == id:
                return message
        raise NotFound("message", id)

    def kept(self, id: str) -> Message | None:
        """The message when the file was read before and is as it was: a few `stat`."""
        history = self._current()
        return history.by_id.get(id) if history and history.has_own_times else None

    def problems(self) -> Sequence[str]:
        """What is wrong in the file: `threads/x/messages.jsonl:17:42 expected ','`."""
        folder = self.folder()
        shown = self._lines.shown(folder)
        return [
            f"{shown}:{record.problem}"
            for record in self._lines.history(folder).records
            if record.problem is not None
        ]

    def kept_answer(self, key: Hashable) -> bytes | None:
        """What `answer` or `answer_last` made under this key, if the file is as it was: a few
        `stat`."""
        folder = self._shared.threads.known_folder(self.thread_id)
        if folder is None or self._shared.replies.pending(folder):
            return None
        history = self._lines.current(folder)
        kept = history.answers.get(key) if history else None
        return kept or self._shared.answers.current(self._lines.path(folder), key)

    def answer(self, key: Hashable, make: Callable[[Sequence[Message]], bytes]) -> bytes:
        """What `make` makes of all messages; kept for as long as they stay the same."""
        folder = self.folder()
        if self._shared.replies.pending(folder):
            return make(self.list())
        history = self._lines.history(folder)
        body = history.answers.get(key)
        if body is None:
            body = make(self._lines.seen(history, folder))
            if history.has_own_times:
                self._shared.histories.keep_answer(history, key, body)
        return body

    def answer_last(
        self, key: Hashable, count: int, make: Callable[[MessageList, bool], bytes]
    ) -> bytes:
        """What `make` makes of what `last` gives; kept for as long as they stay the same."""
        folder = self.folder()

        def made() -> tuple[bytes, bool]:
            found, has_more = self.last(count)
            # A missing time may be another file's; a reply that grows is in a file of its own.
            are_lines = all(formats.message_seconds(each.value) is not None for each in found)
            is_of_file = are_lines and not self._shared.replies.pending(folder)
            return make(found, has_more), is_of_file

        return self._shared.answers.made(self._lines.path(folder), key, made)

    def append(self, new: Batch) -> MessageList:
        """Add messages in one write; what they have become.

        Each is `role`, `content` and what else a client may choose (formats.new_message), `id`
        among it. Raises InvalidId and InvalidRequest for an id that is not allowed or taken, and
        what Files.append raises.
        """
        [made] = self.append_many([new])
        if isinstance(made, JanError):
            raise made
        return made

    def append_many(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        """As several `append`, with one write and one flush. Raises what is wrong for all.

        Of a batch that is refused nothing is written, and the others are.
        """
        return self.appends().append(batches)

    def appends(self) -> Appends:
        """For those who append to several threads at once (together.append_all)."""
        return Appends(self._shared, self._lines, recover=self._recover)

    def begin_reply(self, given: Mapping[str, Any]) -> Reply:
        """A reply that grows from now on. As Replies.begin."""
        return self._shared.replies.begin(self, given)

    def modify(
        self, id: str, changes: Mapping[str, Any], *, condition: Condition = always
    ) -> Message:
        """Give keys new values, null among them, and move `updated` if the line has it.

        All other bytes stay; a change that alters no value writes nothing. `id`, `object`, the
        times and `thread_id` are not changed. `condition` is called under the lock, with the
        message as it is then. Raises as `get`, what `condition` and what Files.replace raise.
        """
        return self._edits(id).modify(id, changes, condition=condition)

    def delete(self, id: str, *, condition: Condition = always) -> Message:
        """Move a message into the trash; what it was. Raises as `modify`."""
        return self._edits(id).delete(id, condition=condition)

    def insert(self, line: bytes, *, after: str | None) -> Message:
        """Put a deleted line back, behind the message `after`, or at the end if that is gone.

        None: it was the first. Raises AlreadyExists when the thread has its id, InvalidRequest for
        what is not the line of one message, and what Files.replace raises.
        """
        return Edits(self._shared, self._lines).insert(line, after=after)

    def changes_since(self, signature: Signature | None) -> Changes:
        """What others changed since it was told what there is; the file had that signature then.

        None: it was not there. What nobody has read, and is long, is known as far as it was added.
        """
        folder = self.folder()
        told = self._shared.told.of(self._lines.path(folder))
        if told is None:
            return self._changes_of_unknown(folder, signature)
        now, read = self._lines.read(folder)
        found = self._compared(folder, self._lines.seen(told, folder), now, read)
        return found._replace(are_all=found.are_all or now.raw == told.raw)

    def touch(self) -> None:
        """Let `thread.json` follow: its last update, and `metadata.lastMessage` where that is.

        Callers may wait and do this once for several appends. A file that is broken or not there
        is left alone.
        """
        with self._shared.threads.hold(self.thread_id):
            document = self._lines.document()
            if document is None or document.stale or not document.raw:
                return
            self._shared.threads.touch(self.thread_id, self._last_message)

    def _changes_of_unknown(self, folder: Path, signature: Signature | None) -> Changes:
        """Of a file of which nothing is known but its size then; from now on it is."""
        path = self._lines.path(folder)
        size, there = signature.size if signature else 0, signature_at(path)
        is_shorter = (there.size if there else 0) < size
        if is_shorter and self._shared.told.may_be_filled(path):
            self._shared.tell_again(path)
            return Changes((), signature, are_all=True)
        if there is not None and there.size > MAX_UNKNOWN:
            self._shared.told.forget(path)
            added = self._lines.added_since(folder, size)
            return Changes([("created", each) for each in added or ()], there, added is not None)
        now, read = self._lines.read(folder)
        seen = self._lines.seen(now, folder)
        before = _begun_before(now, size, seen)
        found = self._compared(folder, seen if before is None else before, now, read)
        return found._replace(are_all=before is not None)

    def _compared(
        self, folder: Path, before: Sequence[Message], now: History, read: Signature | None
    ) -> Changes:
        """What makes `now` of what was told, which it is from now on. All, if that is anything."""
        path = self._lines.path(folder)
        missing = self._shared.told.missing(path)
        changes = message_changes([*before, *missing], self._lines.seen(now, folder))
        self._shared.told.keep(path, read, now)
        told = self._without_the_just_gone(path, changes, missing)
        return Changes(told, read, are_all=bool(changes or missing))

    def _without_the_just_gone(
        self, path: Path, changes: Sequence[tuple[Change, Message]], missing: Sequence[Message]
    ) -> Sequence[tuple[Change, Message]]:
        """They may come back at once: it is looked again a moment later."""
        gone = [message for change, message in changes if change == "deleted"]
        long_gone = self._shared.told.long_gone(path, gone, looked_for=missing)
        if len(long_gone) < len(gone):
            self._shared.tell_again(path)
        there = [each for each in changes if each[0] != "deleted"]
        return [*there, *(("deleted", message) for message in long_gone)]

    def _last_message(self, thread: Mapping[str, Any]) -> dict[str, Any]:
        metadata = thread.get("metadata")
        if not isinstance(metadata, Mapping) or "lastMessage" not in metadata:
            return {}
        found, _ = self._lines.last(self.folder(), 1)
        text = formats.message_text(found[-1].value) if found else ""
        return {"metadata": {**metadata, "lastMessage": text}}

    def _current(self) -> History | None:
        """The file, if it is as it was read and all messages are its lines."""
        folder = self._shared.threads.known_folder(self.thread_id)
        # Replies first: one that ends meanwhile makes the file another.
        if folder is None or self._shared.replies.pending(folder):
            return None
        return self._lines.current(folder)

    def _recover(self, folder: Path) -> None:
        self._shared.replies.recover(self, folder)

    def _edits(self, id: str) -> Edits:
        ids.check_lookup_id("message", id)
        self._recover(self.folder())  # What is shown as a message can be changed.
        return Edits(self._shared, self._lines)


def _begun_before(history: History, size: int, seen: Sequence[Message]) -> Sequence[Message] | None:
    """The messages on lines before byte `size`; None when no line begins there."""
    if size and history.raw[size - 1 : size] != b"\n":
        return None
    records = (record for record in history.records if record.value is not None)
    return [each for record, each in zip(records, seen, strict=True) if record.offset < size]
