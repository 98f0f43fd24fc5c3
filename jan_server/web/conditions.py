"""Conditional requests (RFC 9110, 13): `ETag`, `If-Match` and `If-None-Match`.

A read whose `If-None-Match` names what would be answered is a 304. A change is done only to what
the client has seen: `condition` makes a check out of the request, and the store calls it with the
entity tag of what is on the disk, under the lock under which it writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from jan_server.errors import InvalidRequest, PreconditionFailed
from jan_server.web.fields import fields
from jan_server.web.responses import json_response, stale_headers

Check = Callable[[str], None]

_TAG = r'(?:W/)?"[!#-~\x80-\xff]*"'
# Empty members of a list are passed over (RFC 9110, 5.6.1.2).
_TAGS = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
_ONE = re.compile(_TAG)
PATTERN = rf"^(?:[ \t]*\*[ \t]*|{_TAGS.pattern})$"
"""What the two fields may hold, as the OpenAPI document says it."""


class Tags(Struct, frozen=True):
    """What such a field names: `named` are entity tags with their quotes; `any` is `*`."""

    named: frozenset[str] = frozenset()
    any: bool = False

    def match(self, etag: str) -> bool:
        """Strong: a weak tag is never enough to change something by."""
        return self.any or (etag in self.named and not etag.startswith("W/"))

    def match_weakly(self, etag: str) -> bool:
        """Good enough to go on showing what one has."""
        return self.any or _opaque(etag) in map(_opaque, self.named)


def parse_tags(name: str, value: str) -> Tags:
    """The value of the field `name`. Raises InvalidRequest."""
    if value.strip() == "*":
        return Tags(any=True)
    if _TAGS.fullmatch(value) is None:
        raise InvalidRequest(
            f"{name}: {value[:80]!r} is neither * nor a list of entity tags. One is what an "
            'answer\'s ETag says, in its double quotes: "5d41402abc4b2a76b9719d911017c592".',
            param=name,
        )
    return Tags(named=frozenset(_ONE.findall(value)))


def condition(request: Request) -> Check:
    """What a change must call with the entity tag of what it would change.

    The check raises PreconditionFailed; without the two fields it lets everything pass. Raises
    InvalidRequest.
    """
    wanted, unwanted = _sent(request)

    def check(etag: str) -> None:
        if wanted and not wanted.match(etag):
            raise PreconditionFailed(etag)
        if unwanted and unwanted.match_weakly(etag):
            raise PreconditionFailed(etag)

    return check


def resource_response(
    request: Request,
    value: Any,
    *,
    etag: str,
    stale: str = "",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Response:
    """The answer to a read of one resource: `value` as JSON, or a 304 to who has it already.

    `value` is anything that msgspec encodes, `Raw` for bytes that are JSON already; `stale` is the
    place of the broken file that this is the last good version of; `headers` are sent beside those
    of every resource. Raises InvalidRequest, and
    PreconditionFailed for an If-Match that names something else.
    """
    wanted, known = _sent(request)
    if wanted and not wanted.match(etag):
        raise PreconditionFailed(etag)
    headers = {**resource_headers(etag, stale=stale), **headers}
    if known and known.match_weakly(etag):
        return Response(status_code=304, headers=headers)
    return json_response(value, headers=headers)


def resource_headers(etag: str, *, stale: str = "") -> dict[str, str]:
    """What an answer that shows one resource carries, one to a change too."""
    return {"etag": etag, **stale_headers(stale)}


def _sent(request: Request) -> tuple[Tags | None, Tags | None]:
    """What If-Match and If-None-Match name."""
    sent = fields(request.scope)
    return (
        _tags("If-Match", sent.get(b"if-match")),
        _tags("If-None-Match", sent.get(b"if-none-match")),
    )


def _tags(name: str, value: bytes | None) -> Tags | None:
    return None if value is None else parse_tags(name, value.decode("latin-1"))


def _opaque(etag: str) -> str:
    return etag.removeprefix("W/")
