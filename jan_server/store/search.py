"""Text in the titles and messages of all threads. Reads only.

Letters match in either case. A line that is no message is searched as it stands: what is broken is
found too. Replies that still grow are not lines yet, and are not searched.

Fast because most files are only read: what may hold the text is told by their bytes, and only those
are parsed. 10,000 threads of 20 messages, 60 MB, take a second or two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from jan_server.errors import FileUnreadable, NotFound
from jan_server.store import Entry, Store, formats, jsonl
from jan_server.store.history import viewed
from jan_server.store.jsonl import Record
from jan_server.store.paths import MESSAGES, THREADS

# What JSON may spell otherwise than it is.
_SPELLED = re.compile(r'["\\/\x00-\x1f]')


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A title or a message that has the text: where it begins in `text`, which is all of it.

    Of a title `line` is None. `message_id` is None too where a line is no message.
    """

    thread_id: str = ""
    title: str = ""
    file: str = ""
    line: int | None = None
    message_id: str | None = None
    role: str | None = None
    text: str
    start: int


class _Wanted:
    def __init__(self, text: str) -> None:
        self._text = text.lower()
        self._probe = max(_SPELLED.split(self._text), key=len)

    def place(self, text: str) -> int:
        """Where it begins, -1 for nowhere. (Right but for the letter İ, longer in lower case.)"""
        return text.lower().find(self._text)

    def may_be_in(self, raw: bytes) -> bool:
        """Whether JSON of these bytes can hold it: any letter may be spelled `\\u00e9` there."""
        return b"\\u" in raw or self._probe in raw.decode(errors="replace").lower()


def search(store: Store, text: str) -> Iterator[Hit]:
    """Hits as they are found, by thread as in `newest_first`; one for each message.

    Raises DataFolderMissing.
    """
    wanted = _Wanted(text)
    for entry in newest_first(store):
        yield from _in_thread(store, entry, wanted)


def newest_first(store: Store) -> Sequence[Entry]:
    """All threads, by their last update; those whose document is broken come last.

    Raises DataFolderMissing.
    """
    index = store.threads.index
    return [*reversed(index.oldest_first()), *index.broken()]


def title_of(entry: Entry) -> str:
    """Empty where there is none, and where the thread's document is broken."""
    title = msgspec.json.decode(entry.body).get("title") if entry.body else None
    return title if isinstance(title, str) else ""


def _in_thread(store: Store, entry: Entry, wanted: _Wanted) -> Iterator[Hit]:
    title, folder = title_of(entry), store.threads.place.path / entry.where
    start = wanted.place(title)
    if start >= 0:
        file = store.threads.place.shown(folder / THREADS.document)
        yield Hit(thread_id=entry.id, title=title, file=file, text=title, start=start)
    try:
        raw = store.messages(entry.id).raw()
    except (FileUnreadable, NotFound):  # `doctor` says why; or it was deleted this moment.
        return
    if wanted.may_be_in(raw):
        file = store.threads.place.shown(folder / MESSAGES)
        for hit in _in_messages(jsonl.records(raw), wanted):
            yield msgspec.structs.replace(hit, thread_id=entry.id, title=title, file=file)


def _in_messages(records: Sequence[Record], wanted: _Wanted) -> Iterator[Hit]:
    """The hits, the thread's own values left out."""
    ids: Mapping[int, str] = {}
    for record in records:
        text = _text(record)
        start = wanted.place(text)
        if start >= 0:
            ids = ids or _ids(records)
            yield Hit(
                line=record.line,
                message_id=ids.get(record.offset),
                role=_role(record),
                text=text,
                start=start,
            )


def _text(record: Record) -> str:
    if record.value is None:
        return record.raw.decode(errors="replace")
    return formats.message_text(record.value)


def _role(record: Record) -> str | None:
    role = record.value.get("role") if record.value else None
    return role if isinstance(role, str) else None


def _ids(records: Sequence[Record]) -> Mapping[int, str]:
    """The ids by which messages are served, by where in the file they are."""
    whole = [record for record in records if record.value is not None]
    messages = viewed(whole, lambda: 0)
    return {record.offset: message.id for record, message in zip(whole, messages, strict=True)}
