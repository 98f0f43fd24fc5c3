"""A JSON file: its raw bytes beside what they say; and changing a part of them.

Only this module knows how to change a value and leave every other byte as it is: unknown keys,
their order, the spelling of numbers and escapes, indentation, byte order mark, CRLF. It works on
the file's text, which UTF-8 turns into the same bytes again: members of an object are found by
their places, the changed values are cut out and the new ones put there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jan_server.store.scanner import same
from jan_server.store.signature import Signature

_BOM = "\ufeff"
_SPACE = re.compile(r"[ \t\r\n]*")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_decoder = json.JSONDecoder()


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A resource as its file has it. Do not change `value`: it is shared.

    `id` is the folder's name. `raw` is empty, and `signature` None, for a folder that has no such
    file but is served as if it held `{}`. `mtime` is in seconds. `stale` is the place and the
    reason when the file is broken now and this is the last good version of it that was seen.
    `filed` is where a person filed the folder, as far as that is shown: not what the file says.
    """

    id: str
    path: Path
    raw: bytes
    value: Mapping[str, Any]
    signature: Signature | None
    mtime: float
    stale: str = ""
    filed: str = ""

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def etag(self) -> str:
        return etag(self.raw, state=self.filed)

    def __repr__(self) -> str:
        state = "stale" if self.stale else f"{len(self.raw)} bytes" if self.raw else "no file"
        return f"<Document {self.path.parent.name}/{self.path.name} {state}>"


def etag(raw: bytes, *, view: str = "", state: str = "") -> str:
    """The entity tag of what is answered for these bytes of a file (RFC 9110, 8.8.3), quoted.

    `view` is the kind of representation, `state` what is shown and is not in the file. Strong: a
    file that differs in a space has another one.
    """
    told = f"{view}\n{state}\n".encode() if view or state else b""
    return f'"{sha256(told + raw).hexdigest()[:32]}"'


def written(value: Mapping[str, Any]) -> bytes:
    """A new file as every Jan writes it: two spaces, no final newline."""
    return _dumped(value, _NEW_STYLE, depth=0).encode()


def written_line(value: Mapping[str, Any]) -> bytes:
    """A line of a `.jsonl` file as every Jan writes it: compact, ended by a newline."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _printable(text).encode() + b"\n"


def edited(raw: bytes, changes: Mapping[str, Any]) -> bytes:
    """`raw`, an object's text, with these top-level values; `raw` itself when none differs.

    Keys that are there keep their place, new ones come last. Of a key that is there twice the last
    one counts, as JSON's readers have it. A value that is an object before and after, and loses no
    key, is itself changed member by member.
    """
    if not raw.strip(b" \t\r\n"):
        return written(changes) if changes else raw
    text = raw.decode()
    start = _after_space(text, 1 if text.startswith(_BOM) else 0)
    result = _edited_object(text, start, changes, depth=0)
    return raw if result == text else result.encode()


class Member(NamedTuple):
    """One `"key": value` of an object. The places are in the text."""

    key: str
    key_start: int
    start: int
    end: int
    value: Any


class Style(NamedTuple):
    """How an object is laid out: `newline` is empty when it stands on one line."""

    newline: str
    indent: str
    after_comma: str
    after_colon: str


_NEW_STYLE = Style("\n", "  ", "", " ")


def members(text: str, start: int) -> Iterator[Member]:
    """The members of the object that begins at `start`, of text that is known to be JSON."""
    position = _after_space(text, start + 1)
    while text[position] != "}":
        key, end = _decoder.raw_decode(text, position)
        colon = _after_space(text, end)
        value_start = _after_space(text, colon + 1)
        value, value_end = _decoder.raw_decode(text, value_start)
        yield Member(key, position, value_start, value_end, value)
        position = _after_space(text, value_end)
        if text[position] == ",":
            position = _after_space(text, position + 1)


def _edited_object(text: str, start: int, changes: Mapping[str, Any], *, depth: int) -> str:
    found = list(members(text, start))
    last = {member.key: member for member in found}
    style = _style(text, start, found, depth=depth)
    added = {key: value for key, value in changes.items() if key not in last}
    text = _with_added(text, start, found, added, style=style, depth=depth)
    # From the end, so that the places before a change stay true.
    for member in sorted(last.values(), key=lambda member: member.start, reverse=True):
        if member.key in changes and not same(member.value, changes[member.key]):
            text = _with_value(text, member, changes[member.key], style=style, depth=depth)
    return text


def _with_value(text: str, member: Member, value: Any, *, style: Style, depth: int) -> str:
    old = member.value
    if isinstance(old, dict) and isinstance(value, Mapping) and old and old.keys() <= value.keys():
        return _edited_object(text, member.start, value, depth=depth + 1)
    return text[: member.start] + _dumped(value, style, depth=depth + 1) + text[member.end :]


def _with_added(
    text: str,
    start: int,
    found: list[Member],
    added: Mapping[str, Any],
    *,
    style: Style,
    depth: int,
) -> str:
    if not added:
        return text
    own = style.newline + style.indent * (depth + 1) if style.newline else ""
    pieces = [
        f"{json.dumps(key, ensure_ascii=False)}:{style.after_colon}"
        f"{_dumped(value, style, depth=depth + 1)}"
        for key, value in added.items()
    ]
    joined = _printable(("," + (own or style.after_comma)).join(pieces))
    if found:
        end = found[-1].end
        return text[:end] + "," + (own or style.after_comma) + joined + text[end:]
    closing = style.newline + style.indent * depth if style.newline else ""
    return text[: start + 1] + own + joined + closing + text[_after_space(text, start + 1) :]


def _style(text: str, start: int, found: list[Member], *, depth: int) -> Style:
    """How this object is written, judged by its first members; an empty one by Jan's habit."""
    if not found:
        return _NEW_STYLE
    colon = text.rindex(":", found[0].key_start, found[0].start)
    before = text[start + 1 : found[0].key_start]
    after_comma = text[colon + 1 : found[0].start]
    if len(found) > 1:
        after_comma = text[text.index(",", found[0].end) + 1 : found[1].key_start]
    newline = "\r\n" if "\r\n" in before else "\n" if "\n" in before else ""
    indent = before.rpartition("\n")[2]
    return Style(
        newline,
        indent[: len(indent) // (depth + 1)] if newline else "",
        "" if newline else after_comma,
        text[colon + 1 : found[0].start],
    )


def _dumped(value: Any, style: Style, *, depth: int) -> str:
    text = json.dumps(
        value,
        ensure_ascii=False,
        allow_nan=False,
        indent=style.indent if style.newline else None,
        separators=("," + style.after_comma, ":" + style.after_colon),
    )
    if style.newline:
        # Newlines within strings are escaped: every one here is layout.
        text = text.replace("\n", style.newline + style.indent * depth)
    return _printable(text)


def _printable(text: str) -> str:
    """Half a surrogate pair has no UTF-8; as an escape it survives."""
    return _LONE_SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position
