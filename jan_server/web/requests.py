"""What a client sent, as typed values: the JSON body within its limits, and the query.

Any content type but multipart is read as JSON: curl's `-d` says form, scripts say nothing. Errors
name the offending field by its JSON path. A body beyond its limit is only refused here; what is
left of it is read away by `RestOfBody`, so that clients that send everything first see the answer.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, NoReturn, TypeVar

import msgspec
from starlette.requests import Request
from starlette.types import Message, Receive

from jan_server.errors import BodyTimeout, BodyTooLarge, InvalidRequest, UnsupportedMediaType
from jan_server.web.choices import allowed_values
from jan_server.web.fields import fields

T = TypeVar("T")

DEFAULT_BODY_LIMIT = 10 * 2**20
BODY_SECONDS = 60.0
READ_AWAY_LIMIT = 64 * 2**20
READ_AWAY_SECONDS = 5.0

# Deeper than any request means, and shallow enough that what is stored of it can be read again.
MAX_DEPTH = 100

_PLACE = re.compile(r"(?P<reason>.*?)(?: - at `(?P<path>.*)`)?", re.DOTALL)
_NO_CHOICE = ("Invalid enum value", "Invalid value")
_MISSING = re.compile(r"Object missing required field `(.*)`")
_SURROGATE = re.compile(
    r"(?:\\[^u])|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<lone>\\u[dD][89a-fA-F]..)"
)


async def read_json(
    request: Request, type: type[T], *, required: bool = True
) -> tuple[T, dict[str, Any]]:
    """The body as `type`, and as the mapping that was sent, unknown keys included.

    Without `required` an absent body is read as `{}`. The limit is the router's `body_limit`.
    Raises InvalidRequest (`param` is the JSON path), BodyTooLarge, BodyTimeout,
    UnsupportedMediaType, and Starlette's ClientDisconnect.
    """
    body = await read_body(request, limit=getattr(request.state, "body_limit", DEFAULT_BODY_LIMIT))
    if not body.strip():
        if required:
            raise InvalidRequest("A JSON object is needed as the body, and none was sent.")
        body = b"{}"
    return decode_json(body, type)


async def read_body(request: Request, *, limit: int) -> bytes:
    """The whole body. Raises UnsupportedMediaType for a form or what is packed, BodyTimeout, and
    BodyTooLarge as soon as that is known."""
    _check_media_type(request)
    announced = fields(request.scope).get(b"content-length", b"")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError as error:
        raise BodyTimeout(BODY_SECONDS) from error
    return bytes(body)


def read_query(request: Request, type: type[T]) -> T:
    """The query as a Struct; of a repeated parameter the last counts, unknown ones are ignored.

    Raises InvalidRequest, whose `param` is the parameter's name.
    """
    sent = dict(request.query_params)
    try:
        return msgspec.convert(sent, type, strict=False)
    except msgspec.ValidationError as error:
        path, reason = _place(error, type)
        name = path.removeprefix("$.")
        shown = f", and is {sent[name][:80]!r}" if name in sent else ""
        raise InvalidRequest(f"Query parameter {name}: {reason}{shown}.", param=name) from error


def decode_json(body: bytes, type: type[T]) -> tuple[T, dict[str, Any]]:
    """JSON bytes as `type` and as a mapping. Raises InvalidRequest."""
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        raw = msgspec.json.decode(body, type=dict[str, Any])
        if body.count(b"[") + body.count(b"{") > MAX_DEPTH:  # Else it cannot be deeper.
            _check_depth(raw)
        return msgspec.json.decode(body, type=type), raw
    except msgspec.ValidationError as error:
        path, reason = _place(error, type)
        raise InvalidRequest(f"{path}: {reason}.", param=path) from error
    except RecursionError as error:
        raise _too_deep() from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _raise_malformed(body, error)


class RestOfBody:
    """Watches what the application reads of a body, and reads the rest away.

    A client that sends its whole body before it reads sees a reset connection instead of an
    answer that comes earlier: urllib always, curl beyond a few hundred KiB.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._ended = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def read_away(
        self, *, limit: int = READ_AWAY_LIMIT, seconds: float = READ_AWAY_SECONDS
    ) -> None:
        """Until the end, or `limit` bytes, or `seconds`; nothing when all has been read."""
        try:
            async with asyncio.timeout(seconds):
                while not self._ended and limit > 0:
                    limit -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            pass


def _check_media_type(request: Request) -> None:
    sent = fields(request.scope)
    if sent.get(b"content-type", b"").strip().lower().startswith(b"multipart/"):
        raise UnsupportedMediaType("The body must be JSON; multipart forms are not read here.")
    coding = sent.get(b"content-encoding", b"identity").strip().lower().decode("latin-1")
    if coding != "identity":
        raise UnsupportedMediaType(f"The body must be plain JSON, not {coding[:40]!r}-encoded.")


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than the {limit:,} bytes that are read.")


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"The JSON is nested deeper than {MAX_DEPTH} levels.")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _containers(outer)]
        if not level:
            return
    raise _too_deep()


def _containers(value: dict[str, Any] | list[Any]) -> list[Any]:
    members = value.values() if isinstance(value, dict) else value
    return [member for member in members if isinstance(member, dict | list)]


def _place(error: msgspec.ValidationError, type: Any) -> tuple[str, str]:
    """The JSON path and the reason out of msgspec's message, which has no other form of them."""
    found = _PLACE.fullmatch(str(error))
    assert found is not None  # Every text matches.
    path, reason = found["path"] or "$", found["reason"]
    if missing := _MISSING.fullmatch(reason):
        return f"{path}.{missing[1]}", "it is missing"
    if reason.startswith(_NO_CHOICE) and (values := allowed_values(type, path)):
        return path, f"must be one of {', '.join(map(str, values))}"
    return path, reason[:1].lower() + reason[1:]


def _raise_malformed(body: bytes, cause: Exception) -> NoReturn:
    """msgspec gives no lines, and calls half a surrogate pair truncated: say what it is."""
    try:
        text = body.decode()
        # Numbers stay text: a huge one is not what is wrong here.
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not UTF-8 at byte {error.start}.") from cause
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise InvalidRequest(f"The body is not JSON: {error.msg}, at {where}.") from cause
    except RecursionError:
        raise _too_deep() from cause
    raise InvalidRequest(f"The body is not JSON: {_half_pair(text) or cause}.") from cause


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidRequest(f"The body is not JSON: {name} is no JSON number.")


def _half_pair(text: str) -> str | None:
    for found in _SURROGATE.finditer(text):
        if found["lone"]:
            line = text.count("\n", 0, found.start()) + 1
            return f"{found['lone']} in line {line} is half of a surrogate pair"
    return None
