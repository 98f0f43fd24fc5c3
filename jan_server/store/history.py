"""The bytes of a `messages.jsonl`, and its lines seen as messages. Pure."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any

import msgspec

from jan_server import ids
from jan_server.events import Cause, Change, Event
from jan_server.store import document, formats, jsonl
from jan_server.store.jsonl import Record


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message as its line has it. Do not change `value`: it is shared.

    `id` is the address that reaches it. `seconds` is its time, or the one of the message before
    it. `raw` are the line's bytes without its ending.
    """

    id: str
    value: Mapping[str, Any]
    seconds: int
    raw: bytes

    @property
    def etag(self) -> str:
        return document.etag(self.raw)


class History:
    """A file's bytes, the records in them, and what was made of those: the same for the same bytes.

    `answers` are bodies that show the messages, under whatever tells them apart.
    """

    def __init__(self, raw: bytes, records: tuple[Record, ...] | None = None) -> None:
        self.raw = raw
        if records is not None:
            self.records = records
        self.answers: OrderedDict[Hashable, bytes] = OrderedDict()

    def __repr__(self) -> str:
        return f"<History of {len(self.raw)} bytes>"

    @cached_property
    def records(self) -> tuple[Record, ...]:
        return tuple(jsonl.records(self.raw))

    def became(self, raw: bytes) -> History:
        """What it is with these bytes: records are taken over when the file has only grown."""
        if not self.raw.endswith(b"\n") or not raw.startswith(self.raw):
            return History(raw)
        line = jsonl.count_lines(self.raw) + 1
        added = tuple(jsonl.records(raw, start=len(self.raw), line=line))
        return History(raw, self.records + added)

    @property
    def weight(self) -> int:
        return len(self.raw) + sum(map(len, tuple(self.answers.values())))

    @cached_property
    def has_own_times(self) -> bool:
        """Whether no message's time depends on the thread's."""
        first = next((r.value for r in self.records if r.value is not None), None)
        return first is None or formats.message_seconds(first) is not None

    def messages(self, before_first: Callable[[], int]) -> Sequence[Message]:
        """The records that are messages. `before_first` is as for `viewed`."""
        return self._messages if self.has_own_times else viewed(self.records, before_first)

    @cached_property
    def by_id(self) -> Mapping[str, Message]:
        """Its messages by their ids, when they have times of their own."""
        return {message.id: message for message in self._messages}

    @cached_property
    def _messages(self) -> Sequence[Message]:
        return viewed(self.records, _never_asked)


def viewed(records: Iterable[Record], before_first: Callable[[], int]) -> list[Message]:
    """The records that are messages, each with an id that no other has and with a time.

    Of an id that is there twice the first keeps it, the others are `<id>.2`, `<id>.3`. A missing
    time is the one of the message before; `before_first` gives the first one's, unless the next
    message that says its time is older: what a person wrote stands before its answer.
    """
    whole = [(record, record.value) for record in records if record.value is not None]
    own = [_own_id(record, value) for record, value in whole]
    taken, count = set(own), Counter[str]()
    found: list[Message] = []
    for (record, value), id in zip(whole, own, strict=True):
        address = _address(id, count, taken)
        seconds = formats.message_seconds(value)
        if seconds is None:
            seconds = found[-1].seconds if found else _no_later(before_first(), whole)
        found.append(Message(id=address, value=value, seconds=seconds, raw=record.raw))
    return found


def _no_later(seconds: int, whole: Iterable[tuple[Record, Mapping[str, Any]]]) -> int:
    """Than the first message that says its time."""
    said = (formats.message_seconds(value) for _, value in whole)
    return min(seconds, next((each for each in said if each is not None), seconds))


def message_changes(old: Iterable[Message], new: Iterable[Message]) -> list[tuple[Change, Message]]:
    """What makes the new messages of the old ones: by their ids, and the bytes of their lines.

    Those that are new or were changed in the order of the file, then those that are gone. That
    some were put into another order is no change of any.
    """
    before = {message.id: message for message in old}
    found: list[tuple[Change, Message]] = []
    for message in new:
        was = before.pop(message.id, None)
        if was is None:
            found.append(("created", message))
        elif was.raw != message.raw:
            found.append(("updated", message))
    return found + [("deleted", message) for message in before.values()]


def message_event(thread_id: str, message: Message, *, change: Change, cause: Cause) -> Event:
    """What is told of a message."""
    return Event(
        kind="message",
        id=message.id,
        thread_id=thread_id,
        change=change,
        cause=cause,
        etag=None if change == "deleted" else message.etag,
        resource=message,
    )


def _own_id(record: Record, value: Mapping[str, Any]) -> str:
    """The line's own id; of a line without one that could be asked for, a hash of its bytes."""
    id = value.get("id")
    if isinstance(id, int) and not isinstance(id, bool):
        id = str(id)
    if isinstance(id, str) and ids.is_lookup_id(id, kind="message"):
        return id
    return f"line-{sha256(record.raw).hexdigest()[:16]}"


def _address(id: str, count: Counter[str], taken: set[str]) -> str:
    """`id` itself for the first that has it, then the next free `<id>.2`, `<id>.3`."""
    address = id
    while count[id] and address in taken:
        address = f"{id}.{count[id] + 1}"
        count[id] += 1
    count[id] = count[id] or 1
    taken.add(address)
    return address


def _never_asked() -> int:
    raise AssertionError("the first message has a time of its own")
