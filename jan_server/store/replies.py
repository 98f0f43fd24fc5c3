"""A reply while it grows: `threads/<id>/.reply-<message id>.json`, beside the messages.

It is rewritten whole, twice a second at most, while its writer holds the claim of its id. At its
end it becomes one line of `messages.jsonl`, and the file goes: in this order, so that a crash
between the two leaves both, never neither. Whoever finds one that nobody claims makes it a line
with the status `incomplete`; the claim is what lets only one of the finders do it.

Of a reply whose line is there already only the file is taken away, when the line says at least as
much. Any other line under its id is somebody else's, and what we have goes to `.jan_server/torn/`,
as a file that cannot be read does: nothing is lost, and a thread is not shown a line twice.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from jan_server import ids
from jan_server.errors import AlreadyExists, FileUnreadable, JanError
from jan_server.store import formats, scanner, torn
from jan_server.store.document import written_line
from jan_server.store.files import Files
from jan_server.store.history import Message
from jan_server.store.scanner import Problem
from jan_server.store.signature import Signature, now, signature_of

logger = logging.getLogger(__name__)

SAVE_EVERY = 0.5
"""Seconds. A second is promised; the next piece may come a little late."""

IN_PROGRESS, INCOMPLETE = "in_progress", "incomplete"

_NAME = re.compile(r"\.reply-(?P<id>[A-Za-z0-9][A-Za-z0-9._@+-]{0,127})\.json")
_MAX_LISTINGS = 4096


class Claim(Protocol):
    """That something is ours until we let go, from whichever thread of this process."""

    def release(self, *, forget: bool = False) -> None: ...


class Claims(Protocol):
    """Who holds what, among all processes on the folder (store/locks.py)."""

    def claim(self, name: str) -> Claim | None: ...


class Thread(Protocol):
    """What a reply needs of the messages of its thread (store/messages.py)."""

    def folder(self) -> Path: ...
    def lines(self) -> Sequence[Message]: ...
    def append(self, new: Sequence[Mapping[str, Any]]) -> Sequence[Message]: ...


class _Listing(NamedTuple):
    signature: Signature
    is_settled: bool
    names: tuple[str, ...]


class Replies:
    """The growing replies of all threads. `clock` is for the rhythm of saving only."""

    def __init__(
        self,
        files: Files,
        claims: Claims,
        *,
        torn: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._claims = claims
        self._torn = torn
        self._clock = clock
        self._listings: dict[Path, _Listing] = {}
        self._told: set[tuple[Path, str]] = set()

    def __repr__(self) -> str:
        return f"<Replies, {len(self._listings)} folders seen>"

    def begin(self, thread: Thread, given: Mapping[str, Any]) -> Reply:
        """A reply without text, on the disk and shown from now on. Whoever begins it ends it.

        `given` is as for Messages.append, without `content`: `role`, `assistant_id`, `run_id` ...,
        and `id` when the caller chose one. Raises InvalidId, AlreadyExists for a message id that
        the thread has, and what Messages.append raises.
        """
        taken = {message.id for message in thread.lines()}
        id = given.get("id") or _new_id(taken)
        ids.check_new_id("message", id)
        path = thread.folder() / f".reply-{id}.json"
        claim = self._claims.claim(_claim_name(id))
        if claim is None:
            raise AlreadyExists("message", id)
        value = {**given, "id": id, "created": int(time.time() * 1000)}
        reply = Reply(thread, path, value, claim=claim, replies=self, clock=self._clock)
        try:
            if id in taken or os.path.lexists(path):
                raise AlreadyExists("message", id)
            # Without a flush: it says nothing yet, and nobody waits for the disk to say so.
            self._files.replace_unsynced(path, _line({**value, "content": ""}))
        except JanError:
            claim.release(forget=not os.path.lexists(path))
            raise
        return reply

    def pending(self, folder: Path) -> list[Message]:
        """The replies of a thread's folder that are no lines yet. One stat when there are none.

        Each is a message with what it says so far and the status `in_progress`, or `incomplete`
        when nobody writes it any more. Nothing is written.
        """
        found = (self._pending(folder / name) for name in self._names(folder))
        return [message for message in found if message is not None]

    def recover(self, thread: Thread, folder: Path) -> None:
        """Make lines of the replies that nobody writes any more. One stat when there are none.

        What cannot be made one now stays, is reported once, and stays shown as pending.
        """
        for name in self._names(folder):
            path = folder / name
            try:
                self._recover(thread, path)
            except JanError as error:
                self.tell(path, f"stays as it is: {error}")

    def merged(
        self, thread: Thread, folder: Path, read: Callable[[], Sequence[Message]]
    ) -> list[Message]:
        """The lines that `read` answers, and after them the replies that are none yet."""
        if not self._names(folder):
            return list(read())
        self.recover(thread, folder)
        # Before the lines: a reply that ends meanwhile is in both then, and not in neither.
        pending = self.pending(folder)
        lines = read()
        known = {line.id for line in lines}
        return [*lines, *(reply for reply in pending if reply.id not in known)]

    def settle(self, thread: Thread, path: Path, value: Mapping[str, Any]) -> Message:
        """The line that a reply is in the end; its file is gone. Its claim is the caller's."""
        line = next((line for line in thread.lines() if line.id == value["id"]), None)
        if line is None:
            [line] = thread.append([value])
        elif not formats.message_text(line.value).startswith(value["content"]):
            self._set_aside(path, "another message has its id")
            return line
        self._files.remove(path)
        return line

    def save(self, path: Path, value: Mapping[str, Any]) -> None:
        self._files.replace(path, _line(value))

    def tell(self, path: Path, reason: str) -> None:
        """Log it once."""
        if (path, reason) not in self._told:
            self._told.add((path, reason))
            logger.warning("%s %s", _shown(path), reason)

    def _recover(self, thread: Thread, path: Path) -> None:
        with self._claimed(path) as is_ours:
            if not is_ours:
                return  # It grows, or another finder is at it.
            value = self._read(path)
            if isinstance(value, Problem):
                self._set_aside(path, str(value))
            elif value is not None:
                self.settle(thread, path, {**value, "status": INCOMPLETE})

    def _pending(self, path: Path) -> Message | None:
        try:
            status, value = self._status(path), self._read(path)
        except JanError as error:
            self.tell(path, f"stays as it is: {error}")
            return None
        if value is None or isinstance(value, Problem):
            return None
        return _as_message({**value, "status": status})

    def _status(self, path: Path) -> str:
        try:
            with self._claimed(path) as is_ours:
                return INCOMPLETE if is_ours else IN_PROGRESS
        except JanError:  # No locks are to be had here, as `recover` has told.
            return INCOMPLETE

    @contextlib.contextmanager
    def _claimed(self, path: Path) -> Iterator[bool]:
        """Whether nobody else has it; it is ours for the block then."""
        claim = self._claims.claim(_claim_name(_id_of(path.name)))
        if claim is None:
            yield False
            return
        try:
            yield True
        finally:
            claim.release(forget=not os.path.lexists(path))

    def _read(self, path: Path) -> dict[str, Any] | Problem | None:
        """What a reply's file says; None when there is none. Raises FileUnreadable."""
        if path.is_symlink():
            return None  # Never ours: we make files.
        try:
            raw, _ = self._files.read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FileUnreadable(_shown(path), f"cannot be read ({error.strerror})") from error
        value = scanner.decode(raw)
        if isinstance(value, Problem):
            return value
        if not isinstance(value, dict) or not _is_whole(value):
            return Problem(1, 1, "expected an object with a role and a text")
        return {**value, "id": _id_of(path.name)}

    def _set_aside(self, path: Path, reason: str) -> None:
        target = torn.place(self._files, self._torn, path.name.removeprefix("."))
        self._files.move(path, target)
        logger.warning(
            "%s: %s; it is kept as .jan_server/torn/%s", _shown(path), reason, target.name
        )

    def _names(self, folder: Path) -> tuple[str, ...]:
        """The names of the replies' files; read again when the folder's signature says so."""
        old = self._listings.get(folder)
        try:
            signature = signature_of(folder.stat())
            if old is not None and old.is_settled and old.signature == signature:
                return old.names
            moment = now()
            names = tuple(sorted(filter(_NAME.fullmatch, os.listdir(folder))))  # noqa: PTH208
        except OSError:  # Deleted this moment; whoever reads the messages says so.
            return ()
        if len(self._listings) >= _MAX_LISTINGS:
            self._listings.clear()
        self._listings[folder] = _Listing(signature, signature.is_settled(moment), names)
        return names


class Reply:
    """One reply that grows. Its calls touch the disk; one thread at a time may make them.

    End it with `finish`. What is only closed stays pending until somebody finds it.
    """

    def __init__(
        self,
        thread: Thread,
        path: Path,
        value: Mapping[str, Any],
        *,
        claim: Claim,
        replies: Replies,
        clock: Callable[[], float],
    ) -> None:
        self.id: str = value["id"]
        self._thread = thread
        self._path = path
        self._value = value
        self._claim: Claim | None = claim
        self._replies = replies
        self._clock = clock
        self._pieces: list[str] = []
        self._saved = clock()
        self._saved_pieces = 0

    def __repr__(self) -> str:
        state = "grows" if self._claim is not None else "ended"
        return f"<Reply {self.id} {state}, {len(self.text)} characters>"

    def __enter__(self) -> Reply:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def message(self) -> Message:
        """It as lists show it now."""
        return _as_message({**self._value, "content": self.text, "status": IN_PROGRESS})

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def grow(self, piece: str) -> None:
        """Add to the text; it is saved when that is due. An empty piece lets time pass.

        Raises what Files.replace raises: the text is kept, and saved with a later piece.
        """
        self.add(piece)
        if self.is_due:
            self.save()

    def add(self, piece: str) -> None:
        """Add to the text, for who looks himself whether it `is_due` to be saved."""
        self._pieces.append(piece)

    @property
    def is_due(self) -> bool:
        """Whether there is something that the disk should have by now."""
        is_new = len(self._pieces) > self._saved_pieces
        return is_new and self._clock() - self._saved >= SAVE_EVERY

    def save(self) -> None:
        """Let the disk have what there is."""
        self._saved = self._clock()  # First: a full disk is not asked again at every piece.
        self._saved_pieces = len(self._pieces)
        self._replies.save(self._path, {**self._value, "content": self.text})

    def finish(
        self, *, status: str = "ready", more: Mapping[str, Any] = MappingProxyType({})
    ) -> Message:
        """The line that it has become, durable. Raises as Messages.append; it can be repeated.

        `more` is said beside its status, such as `incomplete_details`.
        """
        value = {**self._value, **more, "content": self.text, "status": status}
        line = self._replies.settle(self._thread, self._path, value)
        self._release()
        return line

    def close(self) -> None:
        """Let go. What is not finished is saved, and made a line by whoever finds it."""
        if self._claim is None:
            return
        try:
            self.save()
        except JanError as error:
            self._replies.tell(self._path, f"lacks what came last: {error}")
        finally:
            self._release()

    def _release(self) -> None:
        if self._claim is not None:
            self._claim.release(forget=not os.path.lexists(self._path))
            self._claim = None


def _line(value: Mapping[str, Any]) -> bytes:
    return written_line({**value, "status": IN_PROGRESS})


def _as_message(value: Mapping[str, Any]) -> Message:
    seconds = formats.message_seconds(value) or 0
    raw = written_line(value).removesuffix(b"\n")
    return Message(id=value["id"], value=value, seconds=seconds, raw=raw)


def _new_id(taken: set[str]) -> str:
    return ids.new_message_id(after=max(filter(ids.is_ulid, taken), default=None))


def _claim_name(id: str) -> str:
    # Not by the thread: a folder that is renamed while the reply grows is still its writer's.
    return f"replies/{id}"


def _id_of(name: str) -> str:
    return name.removeprefix(".reply-").removesuffix(".json")


def _is_whole(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


def _shown(path: Path) -> str:
    return "/".join(path.parts[-3:])
