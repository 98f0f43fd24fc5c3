"""Asks an ASGI application in process, byte for byte: no client tidies the path or the headers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class Answer(msgspec.Struct):
    """`pieces` are the body messages as they came; `headers` has lower-case names."""

    status: int
    headers: dict[str, str]
    pieces: list[bytes]

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def scope_of(
    method: str,
    target: str,
    *,
    headers: Headers = (),
    server: tuple[str, int | None] | None = ("127.0.0.1", 1337),
    kind: str = "http",
) -> dict[str, Any]:
    """`target` is what stands in the request line; characters are bytes."""
    path, _, query = target.partition("?")
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    if not any(name.lower() == "host" for name, _ in pairs):
        pairs.append(("host", "localhost:1337"))
    return {
        "type": kind,
        "method": method,
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "scheme": "http",
        "headers": [(name.lower().encode(), value.encode()) for name, value in pairs],
        "client": ("127.0.0.1", 50000),
        "server": server,
    }


async def ask_async(app: ASGIApp, scope: dict[str, Any], chunks: list[bytes]) -> Answer:
    answer = Answer(0, {}, [])
    waiting = list(chunks) or [b""]
    forever = asyncio.Event()

    async def receive() -> Message:
        if not waiting:
            await forever.wait()
        chunk = waiting.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            answer.pieces.append(message["body"])

    await app(scope, receive, send)
    return answer


def ask(
    app: ASGIApp,
    method: str,
    target: str,
    *,
    headers: Headers = (),
    body: bytes | list[bytes] = b"",
    server: tuple[str, int | None] | None = ("127.0.0.1", 1337),
) -> Answer:
    """One request, its body in the given chunks, and the whole answer."""
    scope = scope_of(method, target, headers=headers, server=server)
    chunks = body if isinstance(body, list) else [body]
    return asyncio.run(ask_async(app, scope, chunks))
