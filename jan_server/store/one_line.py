"""One line of a `messages.jsonl` changed, taken out or put in. Pure; every other byte stays."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from jan_server.errors import InvalidRequest
from jan_server.store import formats, jsonl, scanner
from jan_server.store.document import edited, written_line
from jan_server.store.history import Message, viewed

_PROTECTED = formats.PROTECTED | {"thread_id", "updated"}
_BLANK = b" \t\r\n"
_MISSING = object()


def changed(message: Message, changes: Mapping[str, Any]) -> Message:
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
    new = formats.spelled_as(old, new)
    raw = edited(message.raw, new) if old else written_line(new).removesuffix(b"\n")
    seen = read_line(raw, before=message.seconds)
    # A line whose id is none that can be asked for is reached by a hash of its bytes.
    return seen if _is_hashed(message) else msgspec.structs.replace(seen, id=message.id)


def _is_hashed(message: Message) -> bool:
    return message.id.startswith("line-") and message.value.get("id") != message.id


def read_line(line: bytes, *, before: int = 0) -> Message:
    """One record as a message. Raises InvalidRequest when it is none, or not one."""
    found = jsonl.records(line)
    if len(found) != 1 or found[0].value is None or b"\n" in line:
        raise InvalidRequest("This is not the line of one message.")
    return viewed(found, lambda: before)[0]


def taken_out(raw: bytes, record_start: int, record_end: int) -> tuple[int, int]:
    """The bytes that go with a record: its whole line, unless something else stands on that."""
    begin = raw.rfind(b"\n", 0, record_start) + 1
    end = raw.find(b"\n", record_end) + 1 or len(raw)
    mark = len(scanner.BOM) if begin == 0 and raw.startswith(scanner.BOM) else 0
    if (raw[begin + mark : record_start] + raw[record_end:end]).strip(_BLANK):
        return record_start, record_end
    return begin + mark, end


def with_line(raw: bytes, line: bytes, *, after: int | None, is_first: bool) -> bytes:
    """The file with one more line: behind the one that byte `after` is on, first, or last."""
    position = len(raw)
    if after is not None:
        position = raw.find(b"\n", after) + 1 or len(raw)
    elif is_first:
        position = len(scanner.BOM) if raw.startswith(scanner.BOM) else 0
    before = raw[:position]
    needs_newline = bool(before.removeprefix(scanner.BOM)) and not before.endswith(b"\n")
    return before + (b"\n" if needs_newline else b"") + line + b"\n" + raw[position:]
