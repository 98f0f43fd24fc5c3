"""Answers: JSON from typed values or from bytes that are JSON already, and answers to HEAD.

Work that is only for the client who asked is done `while_connected`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Send

T = TypeVar("T")


def json_response(
    value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """`value` is anything that msgspec encodes: Structs, dicts, lists, `msgspec.Raw`."""
    return json_bytes_response(msgspec.json.encode(value), status=status, headers=headers)


def json_bytes_response(
    body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """`body` is JSON already, for instance the bytes of a file."""
    return Response(body, status, headers, media_type="application/json")


def without_body(send: Send) -> Send:
    """What answers a HEAD: every header of the GET, `content-length` too, and no body."""

    async def send_headers_only(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_headers_only


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives. When the client leaves, `work` is cancelled and ClientDisconnect raised.

    For a request whose body is read. `work` has ended, its cleanup too, when this returns.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(client_left(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        await end_tasks(working, leaving)


async def client_left(receive: Receive) -> None:
    """Returns when the client has left; what else it sends is passed over."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancels those that still run and waits for their cleanup; what they raised is dropped."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def stale_headers(stale: str) -> dict[str, str]:
    """`X-Jan-Stale` with the place of the broken file, or nothing where nothing is stale.

    File names may hold what headers cannot: that is percent-encoded.
    """
    return {"x-jan-stale": quote(stale, safe=" !\"#$&'()*+,/:;<=>?@[]^`{|}~")} if stale else {}
