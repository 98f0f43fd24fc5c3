"""Path patterns, matched against the raw path: split at `/` first, percent-decoded after.

`/threads/{thread_id}` takes one segment; `/models/{model_id:path}` takes one or more, and only
there may an id hold `/`, plain or as `%2F`. A fixed segment may follow: `/models/{id:path}/start`.
Empty segments match on purpose: the id is then refused by name instead of being "not found".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote, unquote_to_bytes

from starlette.types import Scope

from jan_server.errors import InvalidId

_PARAMETER = re.compile(r"\{(\w+)(:path)?\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FIXED, _ONE_SEGMENT, _SEGMENTS, _END = range(4)


def raw_path(scope: Scope) -> str:
    """The path as it was sent, one byte a character, without one trailing slash."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    return raw.decode("latin-1").removesuffix("/")


def fault(segment: str) -> str | None:
    """Why a decoded segment is never an id, or None. Which ids exist is not known here."""
    if not segment:
        return "it is empty, or a part of it is"
    if segment in {".", ".."}:
        return "a part of it is '.' or '..'"
    if "/" in segment:
        return "it holds a '/'"
    if _CONTROL.search(segment):
        return "it holds control characters"
    return None


def decode_segment(raw: str) -> str:
    """Percent-decoded UTF-8. Raises UnicodeDecodeError."""
    if "%" not in raw and raw.isascii():
        return raw
    return unquote_to_bytes(raw.encode("latin-1")).decode()


@dataclass(frozen=True)
class Pattern:
    """A path such as `/threads/{thread_id}/messages/{message_id}`."""

    text: str

    @cached_property
    def parameters(self) -> dict[str, bool]:
        """The names in order, and whether each may hold `/`."""
        return {name: bool(marker) for name, marker in _PARAMETER.findall(self.text)}

    @cached_property
    def plain(self) -> str:
        """Without the markers, as OpenAPI writes it."""
        return _PARAMETER.sub(r"{\1}", self.text)

    @cached_property
    def fixed(self) -> bool:
        """Whether it has no parameters, so that one path only is of it."""
        return not self.parameters

    @cached_property
    def slashes(self) -> int:
        """How many a path of it has; with an id that may hold some, at least."""
        return self.text.count("/")

    def may_have(self, slashes: int) -> bool:
        """Whether a path with so many may be of it."""
        return slashes == self.slashes or (slashes > self.slashes and any(self.parameters.values()))

    @cached_property
    def rank(self) -> tuple[int, ...]:
        """Sorts the more particular pattern first: fixed segments before ids, longer ones first."""
        return (*map(_rank, self.text.split("/")), _END)

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        parts = map(_segment_regex, self.text.rstrip("/").split("/"))
        return re.compile("/".join(parts), re.DOTALL)

    def match(self, raw: str) -> dict[str, str] | None:
        """The ids, still encoded, when a path from `raw_path` is of this pattern."""
        found = self._regex.fullmatch(raw)
        return None if found is None else found.groupdict()

    def decode(self, ids: dict[str, str]) -> dict[str, str]:
        """The ids of `match`, decoded. Raises InvalidId, whose `param` is the name."""
        return {name: _decode_id(name, raw, self.parameters[name]) for name, raw in ids.items()}


def _rank(segment: str) -> int:
    parameter = _PARAMETER.fullmatch(segment)
    if parameter is None:
        return _FIXED
    return _SEGMENTS if parameter[2] else _ONE_SEGMENT


def _segment_regex(segment: str) -> str:
    parameter = _PARAMETER.fullmatch(segment)
    if parameter is None:
        return re.escape(segment)
    return f"(?P<{parameter[1]}>{'.*' if parameter[2] else '[^/]*'})"


def _decode_id(name: str, raw: str, may_hold_slash: bool) -> str:
    kind = name.removesuffix("_id")
    try:
        id = decode_segment(raw)
    except UnicodeDecodeError as error:
        raise InvalidId(kind, raw, "it is not UTF-8", param=name) from error
    for part in id.split("/") if may_hold_slash else [id]:
        if reason := fault(part):
            raise InvalidId(kind, id, reason, param=name)
    return id
