"""Adding lines to a thread's file.

What an append costs does not grow with the thread: only the end of the file is looked at, for the
latest ULID and for a torn line. An id that a client chose must be free, so then all ids are needed;
they are read once and kept up while nobody else writes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jan_server import ids
from jan_server.errors import InvalidRequest, JanError
from jan_server.events import Event
from jan_server.store import formats, merging, torn
from jan_server.store.document import written_line
from jan_server.store.ends import End
from jan_server.store.files import Signature, now, signature_at, signature_of
from jan_server.store.history import Message
from jan_server.store.jsonl import Record
from jan_server.store.lines import Lines, Shared
from jan_server.store.tail import tails

logger = logging.getLogger(__name__)

Batch = Sequence[Mapping[str, Any]]

_LOOKED_AT = 2**16
"""Bytes at the end of a file, in which the latest ULID is looked for."""


class Appends:
    """Adding to one thread. `recover` makes lines of what must stand before what is added."""

    def __init__(self, shared: Shared, lines: Lines, *, recover: Callable[[Path], None]) -> None:
        self._shared = shared
        self._lines = lines
        self._recover = recover

    def __repr__(self) -> str:
        return f"<Appends to {self._lines.thread_id}>"

    def append(self, batches: Sequence[Batch]) -> list[list[Message] | JanError]:
        """Add the messages of several requests with one write and one flush.

        What each has become, or why it is refused: then nothing of it is written. Raises InvalidId
        and NotFound (thread), FileUnreadable, and what Files.append raises: then for all of them.
        """
        with self._shared.threads.hold(self._lines.thread_id) as folder:
            self._recover(folder)
            path = self._lines.path(folder)
            are_chosen = any(new.get("id") is not None for batch in batches for new in batch)
            end = self._end(folder, path, with_ids=are_chosen)
            made = list(_made(batches, end, folder.name, self._shared.generation()))
            added = [message for each in made if isinstance(each, list) for message in each]
            if added:
                self._write(folder, path, added, end=end)
                self._publish(folder, added)
        return made

    def _write(self, folder: Path, path: Path, added: Sequence[Message], *, end: End) -> None:
        data = b"".join(message.raw + b"\n" for message in added)
        size = len(data) + (not end.ends_line)
        with self._shared.threads.index.writing(folder) as writing:
            signature = self._shared.files.append(path, data)
            writing.companion, writing.size = signature, size
        if signature.size == size + (end.signature.size if end.signature else 0):
            self._shared.ends.keep(path, _moved(end, signature, added))

    def _publish(self, folder: Path, added: Iterable[Message]) -> None:
        thread_id = self._shared.threads.index.id_of(folder)
        for message in added:
            self._shared.publish(
                Event(
                    kind="message",
                    id=message.id,
                    change="created",
                    cause="api",
                    etag=message.etag,
                    thread_id=thread_id,
                    resource=message,
                )
            )

    def _end(self, folder: Path, path: Path, *, with_ids: bool) -> End:
        known = self._shared.ends.take(path, signature_at(path))
        if known is not None and (known.ids is not None or not with_ids):
            return known
        try:
            return self._read_end(folder, path, with_ids=with_ids)
        except FileNotFoundError:
            return End(None, True, None, set())
        except OSError as error:
            raise self._lines.unreadable(folder, error) from error

    def _read_end(self, folder: Path, path: Path, *, with_ids: bool) -> End:
        # First: when somebody writes meanwhile, it is not the signature of what is read.
        status = path.stat()
        tail = next(tails(self._shared.files, path, length=_LOOKED_AT))
        is_old = now() - status.st_mtime > torn.SECONDS
        if tail.torn and is_old and self._is_set_aside(folder, path, tail.torn):
            return self._read_end(folder, path, with_ids=with_ids)
        all_ids = {message.id for message in self._lines.messages(folder)} if with_ids else None
        latest = _latest(all_ids or map(_id_in, tail.records))
        return End(signature_of(status), tail.ends_line, latest, all_ids)

    def _is_set_aside(self, folder: Path, path: Path, line: bytes) -> bool:
        """Move a line that our own crashed append left out of the way; whether it is one."""
        raw, _ = self._shared.files.read(path)
        if not torn.is_ours(line, thread=folder.name) or not raw.endswith(line):
            return False

        def cut(raw: bytes) -> bytes | None:
            return raw.removesuffix(line) if raw.endswith(line) else None

        # On the disk there before it is cut off here.
        kept = torn.keep(self._shared.files, self._shared.torn, line, thread=folder.name)
        with self._shared.threads.index.writing(folder):
            ours = raw.removesuffix(line)
            merging.replace(self._shared.files, path, ours, base=raw, merge=cut)
        logger.warning("%s: a torn last line was moved to %s", self._lines.shown(folder), kept)
        return True


def new_messages(
    given: Iterable[Mapping[str, Any]],
    *,
    thread_id: str,
    known: Container[str],
    generation: formats.Generation,
    after: str | None = None,
    path: str = "$",
) -> Iterator[dict[str, Any]]:
    """The messages that these requests become, after those that the thread has.

    A client's own id is kept when it is valid and not `known`; others are ULIDs greater than
    `after`. Raises InvalidId and InvalidRequest, whose `param` begins with `path`, a JSON path in
    which `{}` stands for the request's number.
    """
    taken: set[str] = set()
    for number, request in enumerate(given):
        id = request.get("id")
        if id is None:
            id = ids.new_message_id(after=after)
        else:
            _check_is_free(id, known, taken, param=f"{path.format(number)}.id")
        taken.add(id)
        after = _latest([id], after)
        yield formats.new_message(
            generation, id=id, thread_id=thread_id, now=time.time(), given=request
        )


def _made(
    batches: Iterable[Batch], end: End, thread_id: str, generation: formats.Generation
) -> Iterator[list[Message] | JanError]:
    """What each batch becomes, or why it does not; the ids are added to those of `end`."""
    known = set() if end.ids is None else end.ids
    latest = end.latest
    for batch in batches:
        new = new_messages(
            batch, thread_id=thread_id, known=known, generation=generation, after=latest
        )
        try:
            made = list(map(_message, new))
        except JanError as error:
            yield error
            continue
        known.update(message.id for message in made)
        latest = _latest((message.id for message in made), latest)
        yield made


def _message(value: dict[str, Any]) -> Message:
    return Message(
        id=value["id"],
        value=value,
        seconds=formats.message_seconds(value) or 0,
        raw=written_line(value).removesuffix(b"\n"),
    )


def _moved(end: End, signature: Signature, added: Iterable[Message]) -> End:
    latest = _latest((message.id for message in added), end.latest)
    return End(signature, ends_line=True, latest=latest, ids=end.ids)


def _latest(given: Iterable[str], latest: str | None = None) -> str | None:
    found = list(filter(ids.is_ulid, given))
    return max([*found, latest] if latest else found, default=None)


def _id_in(record: Record) -> str:
    id = (record.value or {}).get("id")
    return id if isinstance(id, str) else ""


def _check_is_free(chosen: str, *taken: Container[str], param: str) -> None:
    ids.check_new_id("message", chosen, param=param)
    if any(chosen in each for each in taken):
        raise InvalidRequest(f"The thread has two messages {chosen!r} then.", param=param)
