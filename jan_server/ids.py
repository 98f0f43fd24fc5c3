"""New ids, which ids may name a new folder, and which may be looked up.

Two rules, because two parties name things. What a client asks us to create has a narrow name, safe
on every system. What is looked up may be anything that a person or a Jan gave a folder, so long as
it is one component of a path. Both are checked before a path is made of them.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from typing import Annotated

from msgspec import Meta
from ulid import ULID

from jan_server.errors import InvalidId

RESERVED = frozenset({"download", "hub", "import", "pull", "sources", "start", "status", "stop"})
"""Words that follow `/models/` in routes; no part of a new model id may be one."""

MODEL_PARTS = 4
"""How many `/`-joined parts a model id may have, and how deep model folders are looked for."""

_NEW = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
NewId = Annotated[str, Meta(extra_json_schema={"pattern": f"^{_NEW.pattern}$"})]
"""As the OpenAPI document shows an id of one part that may be new; `check_new_id` checks it."""

_NOT_IN_NEW = re.compile(r"[^A-Za-z0-9._@+-]+")
_SECONDS = re.compile(r".*_(\d{9,11})(?:_\d{1,3})?")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # Controls; half a character.
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_EARLIEST, _LATEST = 946_684_800, 4_102_444_800  # the years 2000 and 2100


def is_new_id(text: str, *, kind: str = "thread") -> bool:
    """Whether `text` may name something new; a model's id may be several such parts."""
    return _reason_against_new(kind, text) == ""


def check_new_id(kind: str, text: str, *, param: str | None = None) -> str:
    """`text` itself. Raises InvalidId."""
    reason = _reason_against_new(kind, text)
    if reason:
        raise InvalidId(kind, text, reason, param=param)
    return text


def check_lookup_id(kind: str, text: str, *, param: str | None = None) -> str:
    """`text` itself, when something of that kind could have this name. Raises InvalidId."""
    reason = _reason_against_lookup(kind, text)
    if reason:
        raise InvalidId(kind, text, reason, param=param)
    return text


def is_lookup_id(text: str, *, kind: str = "thread") -> bool:
    """Whether `text` could be the name of something that exists."""
    return _reason_against_lookup(kind, text) == ""


def new_message_id(after: str | None = None) -> str:
    """A ULID, greater than `after` even when the clock stands still or went back."""
    fresh = ULID()
    if after is None or not _ULID.fullmatch(after) or str(fresh) > after:
        return str(fresh)
    following = int(ULID.from_str(after)) + 1
    return str(ULID.from_int(following)) if following < 1 << 128 else str(fresh)


def new_thread_id(assistant_id: str, seconds: float) -> str:
    """As Jan 0.4 names a thread's folder: `jan_1705312345`."""
    return f"{assistant_id}_{int(seconds)}"


def new_assistant_id(name: str) -> str:
    """The name as a person would call its folder: `Math Tutor` is `math-tutor`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.findall("[a-z0-9]+", plain)
    return "-".join(words)[:64].strip("-") or f"asst_{ULID()}"


def is_uuid(text: str) -> bool:
    """Whether it is one of version 4, written as today's Jan does."""
    return _UUID.fullmatch(text) is not None


def new_model_id(*names: str) -> str:
    """The first of these names that an id can be made of: `My Model (2)` is `My-Model-2`."""
    for name in names:
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        id = _NOT_IN_NEW.sub("-", plain).lstrip("._@+-")[:128].rstrip("._-")
        if is_new_id(id, kind="model"):
            return id
    return f"model_{ULID()}"


def new_uuid() -> str:
    """As today's Jan names a thread's folder."""
    return str(uuid.uuid4())


def is_ulid(text: str) -> bool:
    return _ULID.fullmatch(text) is not None


def seconds_of(text: str) -> float | None:
    """The time hidden in an id, in seconds since 1970: `jan_<seconds>` or a ULID; else None."""
    seconds = None
    if is_ulid(text):
        seconds = ULID.from_str(text).timestamp
    elif found := _SECONDS.fullmatch(text):
        seconds = float(found[1])
    return seconds if seconds is not None and _EARLIEST <= seconds <= _LATEST else None


def _parts(kind: str, text: str) -> list[str]:
    return text.split("/") if kind == "model" else [text]


def _reason_against_new(kind: str, text: str) -> str:
    parts = _parts(kind, text)
    if len(parts) > MODEL_PARTS:
        return f"it has more than {MODEL_PARTS} parts"
    if not all(_NEW.fullmatch(part) for part in parts):
        return "use 1 to 128 letters, digits and . _ @ + -, beginning with a letter or a digit" + (
            " (a model's parts are joined by /)" if kind == "model" else ""
        )
    if kind == "model" and (reserved := RESERVED.intersection(parts)):
        return f"{min(reserved)!r} is a word of the API"
    return ""


def _reason_against_lookup(kind: str, text: str) -> str:
    return next(filter(None, map(_reason_against_component, _parts(kind, text))), "")


def _reason_against_component(part: str) -> str:
    if part == "":
        return "it is empty"
    if part in (".", ".."):
        return "it is a step in a path, not a name"
    if "/" in part or "\\" in part:
        return "it holds a path separator"
    if _UNPRINTABLE.search(part):
        return "it holds a control character or half of a character"
    if len(part.encode()) > 255:
        return "it is longer than 255 bytes"
    return ""
