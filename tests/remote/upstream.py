"""A server that answers as a test scripts it: for the faults that a real one has rarely."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, NamedTuple

from starlette.types import Receive, Scope, Send

from tests.web.serving import served

SECONDS = 20


class Step(Enum):
    CUT = "end the connection in the middle of the answer"
    HANG = "say nothing until the client leaves"
    WAIT = "say nothing until the test says `go`"


class Script(NamedTuple):
    """An answer: its status and headers, then parts of its body and what else happens."""

    steps: Sequence[bytes | Step] = (b"{}",)
    status: int = 200
    headers: Mapping[str, str] = {"content-type": "application/json"}


class Seen(NamedTuple):
    """A request; `port` is its connection's."""

    port: int
    path: str
    headers: dict[str, str]
    body: Any


class Upstream:
    """Gives every request the answer of `script`. `seen` are the requests, `left` those whose
    clients have gone while it hung."""

    def __init__(self) -> None:
        self.script = Script()
        self.url = ""
        self.seen: queue.Queue[Seen] = queue.Queue()
        self.left: queue.Queue[str] = queue.Queue()
        self.go = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        target = scope["raw_path"] + (
            b"?" + scope["query_string"] if scope["query_string"] else b""
        )
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.seen.put(Seen(scope["client"][1], target.decode(), headers, json.loads(body)))
        await self._answer(scope["path"], receive, send)

    async def _answer(self, path: str, receive: Receive, send: Send) -> None:
        status, headers, steps = self.script.status, self.script.headers, self.script.steps
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        begun = False
        for step in steps:
            if step is Step.HANG:
                await receive()
                self.left.put(path)
                return
            if step is Step.CUT:
                raise ConnectionError("as the script says")
            if step is Step.WAIT:
                await asyncio.to_thread(self.go.wait, SECONDS)
                continue
            if not begun:
                await send({"type": "http.response.start", "status": status, "headers": pairs})
                begun = True
            await send({"type": "http.response.body", "body": step, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def answering(value: Any, *, status: int = 200, **headers: str) -> Script:
    """JSON, or bytes as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    named = {name.replace("_", "-"): said for name, said in headers.items()}
    return Script([body], status, {"content-type": "application/json", **named})


def streaming(*steps: bytes | Step, **headers: str) -> Script:
    named = {name.replace("_", "-"): said for name, said in headers.items()}
    return Script(steps, 200, {"content-type": "text/event-stream", **named})


@contextmanager
def running() -> Iterator[Upstream]:
    upstream = Upstream()
    with served(upstream) as (host, port):
        upstream.url = f"http://{host}:{port}/v1/chat/completions"
        yield upstream
