"""Adding lines to a thread's file.

What an append costs does not grow with the thread: only the end of the file is looked at, for the
latest ULID and for a torn line. An id that a client chose must be free, so then all ids are needed;
they are read once and kept up while nobody else writes.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from jan_server.store import merging, torn
from jan_server.store.adding import Added
from jan_server.store.ends import End
from jan_server.store.history import Message, message_event
from jan_server.store.jsonl import Record
from jan_server.store.lines import Lines, Shared
from jan_server.store.new_messages import Batch, Outcome, latest, made
from jan_server.store.signature import Signature, now, signature_at, signature_of
from jan_server.store.tail import tails

logger = logging.getLogger(__name__)

_LOOKED_AT = 2**16
"""Bytes at the end of a file, in which the latest ULID is looked for."""


class Begun:
    """Appends to one thread that are written. They hold its lock."""

    def __init__(
        self,
        outcomes: list[Outcome],
        added: Added | None = None,
        on_disk: Callable[[Signature], None] = lambda _signature: None,
    ) -> None:
        self._outcomes = outcomes
        self._added = added
        self._on_disk = on_disk
        self._signature: Signature | None = None

    def __repr__(self) -> str:
        return f"<Begun, {len(self._outcomes)} batches>"

    def flush(self) -> None:
        """From any thread. Raises what Files.append raises."""
        if self._added is not None:
            self._signature = self._added.flush()

    def finish(self) -> list[Outcome]:
        """After the flush, by whoever began them: what they have become."""
        if self._signature is not None:
            self._on_disk(self._signature)
        return self._outcomes


class Appends:
    """Adding to one thread. `recover` makes lines of what must stand before what is added."""

    def __init__(self, shared: Shared, lines: Lines, *, recover: Callable[[Path], None]) -> None:
        self._shared = shared
        self._lines = lines
        self._recover = recover

    def __repr__(self) -> str:
        return f"<Appends to {self._lines.thread_id}>"

    def append(self, batches: Sequence[Batch]) -> list[Outcome]:
        """Add the messages of several requests with one write and one flush.

        Of a batch that is refused nothing is written. Raises InvalidId and NotFound (thread),
        FileUnreadable, and what Files.append raises: then for all of them.
        """
        with self.begun(batches) as begun:
            assert begun is not None  # It waits for the lock.
            begun.flush()
            return begun.finish()

    @contextlib.contextmanager
    def begun(self, batches: Sequence[Batch], *, wait: bool = True) -> Iterator[Begun | None]:
        """Write them, and hold the thread's lock for the block. Raises as `append`.

        They are on the disk when they were flushed. None, unless it may `wait`: somebody else
        holds the lock.
        """
        threads = self._shared.threads
        hold = threads.hold if wait else threads.try_hold
        with hold(self._lines.thread_id) as folder:
            if folder is None:
                yield None
                return
            self._recover(folder)
            with self._begun(folder, batches) as begun:
                yield begun

    @contextlib.contextmanager
    def _begun(self, folder: Path, batches: Sequence[Batch]) -> Iterator[Begun]:
        path = self._lines.path(folder)
        are_chosen = any(new.get("id") is not None for batch in batches for new in batch)
        end = self._end(folder, path, with_ids=are_chosen)
        outcomes = list(
            made(
                batches,
                thread_id=folder.name,
                known=set() if end.ids is None else end.ids,
                after=end.latest,
                generation=self._shared.generation(),
            )
        )
        new = [message for each in outcomes if isinstance(each, list) for message in each]
        if not new:
            self._shared.ends.keep(path, end)
            yield Begun(outcomes)
            return
        data = b"".join(message.raw + b"\n" for message in new)
        added_bytes = data if end.ends_line else b"\n" + data
        with (
            self._shared.threads.index.writing(folder) as writing,
            self._shared.files.appended(path, data) as added,
        ):

            def on_disk(signature: Signature) -> None:
                writing.companion, writing.size = signature, len(added_bytes)
                before = end.signature.size if end.signature else 0
                is_longer = signature.size == before + len(added_bytes)
                if is_longer:
                    self._shared.ends.keep(path, _moved(end, signature, new))
                told = self._shared.told
                if not (is_longer and told.grew(path, end.signature, signature, added_bytes)):
                    self._lines.expect(folder, new)
                self._publish(folder, new)

            yield Begun(outcomes, added, on_disk)

    def _publish(self, folder: Path, added: Iterable[Message]) -> None:
        thread_id = self._shared.threads.index.id_of(folder)
        for message in added:
            self._shared.publish(message_event(thread_id, message, change="created", cause="api"))

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
        known = all_ids or map(_id_in, tail.records)
        return End(signature_of(status), tail.ends_line, latest(known), all_ids)

    def _is_set_aside(self, folder: Path, path: Path, line: bytes) -> bool:
        """Move a line that our own crashed append left out of the way; whether it is one."""
        raw, _ = self._shared.files.read(path)
        if not torn.is_ours(line, thread=folder.name) or not raw.endswith(line):
            return False

        def cut(raw: bytes) -> bytes | None:
            return raw.removesuffix(line) if raw.endswith(line) else None

        # On the disk there before it is cut off here.
        kept = torn.keep(self._shared.files, self._shared.torn, line, thread=folder.name)
        with self._shared.threads.index.writing(folder) as writing:
            ours = raw.removesuffix(line)
            written = merging.replace(self._shared.files, path, ours, base=raw, merge=cut)
            writing.companion, writing.is_mixed = written.signature, not written.is_ours
            writing.size = -len(line)
        logger.warning("%s: a torn last line was moved to %s", self._lines.shown(folder), kept)
        return True


def _moved(end: End, signature: Signature, added: Iterable[Message]) -> End:
    return End(
        signature,
        ends_line=True,
        latest=latest((message.id for message in added), end.latest),
        ids=end.ids,
    )


def _id_in(record: Record) -> str:
    id = (record.value or {}).get("id")
    return id if isinstance(id, str) else ""
