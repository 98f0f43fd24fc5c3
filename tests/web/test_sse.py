"""Event streams: the framing, what begins one, and everything that can end one."""

import asyncio
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message

from jan_server.errors import EngineDied, InvalidRequest, ShuttingDown
from jan_server.web.errors import ErrorForm, Errors
from jan_server.web.ndjson import Lines
from jan_server.web.responses import json_response, while_connected
from jan_server.web.routing import Route, Router
from jan_server.web.sse import (
    DONE,
    Comment,
    EventStream,
    Framing,
    Named,
    TypedEvents,
    format_comment,
    format_error,
    format_event,
)
from tests.web.asgi import ask, scope_of
from tests.web.serving import exchange, served


class Source:
    """Gives the values, raises those that are errors, waits for ever at an Ellipsis."""

    def __init__(self, *values: Any) -> None:
        self.values = values
        self.waits = asyncio.Event()
        self.closed = threading.Event()

    async def events(self) -> AsyncIterator[Any]:
        try:
            for value in self.values:
                if isinstance(value, Exception):
                    raise value
                if value is ...:
                    self.waits.set()
                    await asyncio.Event().wait()
                yield value
        finally:
            self.closed.set()


def streaming(source: Source, *, closing: asyncio.Event | None = None, **options: Any) -> ASGIApp:
    async def handler(context: None, request: Request) -> Response:
        return EventStream(source.events(), **options)

    return Errors(Router([Route("GET", "/", handler)], None, closing=closing))


Play = Callable[[asyncio.Queue[Message]], Any]


def play(app: ASGIApp, source: Source, act: Play) -> list[Message]:
    """What was sent when `act` happens while the source waits; `act` may queue a disconnect."""

    async def scene() -> list[Message]:
        sent: list[Message] = []
        incoming: asyncio.Queue[Message] = asyncio.Queue()
        incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})

        async def send(message: Message) -> None:
            sent.append(message)

        answering = asyncio.create_task(_run(app, incoming, send))
        await source.waits.wait()
        act(incoming)
        await asyncio.wait_for(answering, 60)
        return sent

    return asyncio.run(scene())


async def _run(app: ASGIApp, incoming: asyncio.Queue[Message], send: Any) -> None:
    await app(scope_of("GET", "/"), incoming.get, send)


def leave(incoming: asyncio.Queue[Message]) -> None:
    incoming.put_nowait({"type": "http.disconnect"})


def bodies(sent: list[Message]) -> list[bytes]:
    return [message["body"] for message in sent if message["type"] == "http.response.body"]


@pytest.mark.parametrize(
    ("framed", "bytes_"),
    [
        (format_event({"a": "ü\n"}), b'data: {"a":"\xc3\xbc\\n"}\n\n'),
        (
            format_event(Named("r-1", "a.b", {"a": "\n"})),
            b'id: r-1\nevent: a.b\ndata: {"a":"\\n"}\n\n',
        ),
        (format_comment(), b":\n\n"),
        (format_event(Comment("2 ahead")), b": 2 ahead\n\n"),
        (format_comment("still here"), b": still here\n\n"),
        (
            format_error(EngineDied("gone")),
            b'data: {"error":{"message":"gone","type":"server_error","param":null,'
            b'"code":"engine_died"}}\n\n',
        ),
        (DONE, b"data: [DONE]\n\n"),
    ],
)
def test_framing(framed: bytes, bytes_: bytes) -> None:
    assert framed == bytes_


def test_each_event_is_one_write_and_done_is_the_last() -> None:
    source = Source(1, {"a": 2})
    answer = ask(streaming(source), "GET", "/")
    assert answer.pieces == [b"data: 1\n\n", b'data: {"a":2}\n\n', DONE]
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "content-length" not in answer.headers
    assert source.closed.is_set()


def test_a_stream_without_done_just_ends() -> None:
    answer = ask(streaming(Source(1), ending=b"", headers={"x-extra": "1"}), "GET", "/")
    assert answer.pieces == [b"data: 1\n\n", b""]
    assert answer.headers["x-extra"] == "1"


class Said(msgspec.Struct, tag_field="type", tag="said"):
    text: str


class Told(msgspec.Struct):
    error: str


FORM = ErrorForm(Told, lambda error: Told(error.message))


@pytest.mark.parametrize(
    ("framing", "media_type", "pieces"),
    [
        (
            TypedEvents(FORM),
            "text/event-stream; charset=utf-8",
            [
                b": 1 ahead\n\n",
                b'event: said\ndata: {"type":"said","text":"a"}\n\n',
                b'event: error\ndata: {"error":"gone"}\n\n',
            ],
        ),
        (
            Lines(FORM),
            "application/x-ndjson",
            [b'{"type":"said","text":"a"}\n', b'{"error":"gone"}\n'],
        ),
    ],
)
def test_other_framings_are_the_same_stream_in_other_bytes(
    framing: Framing, media_type: str, pieces: list[bytes]
) -> None:
    source = Source(Comment("1 ahead"), Said("a"), EngineDied("gone"))
    answer = ask(streaming(source, framing=framing), "GET", "/")
    assert (answer.headers["content-type"], answer.pieces) == (media_type, pieces)
    whole = ask(streaming(Source(Said("a")), framing=framing), "GET", "/")
    assert whole.pieces[1:] == [b""]


def test_an_opening_comment_takes_the_headers_along_before_there_is_an_event() -> None:
    source = Source(...)
    sent = play(streaming(source, opening="connected"), source, leave)
    assert sent[0]["status"] == 200
    assert bodies(sent) == [b": connected\n\n"]
    assert source.closed.is_set()


def test_a_comment_of_the_source_begins_the_answer_as_an_event_does() -> None:
    error = EngineDied("The engine died.")
    answer = ask(streaming(Source(Comment("1 ahead"), 1, error)), "GET", "/")
    assert (answer.status, answer.body) == (
        200,
        b": 1 ahead\n\ndata: 1\n\n" + format_error(error),
    )


def test_after_an_opening_comment_a_failure_is_an_event() -> None:
    error = InvalidRequest("too long")
    answer = ask(streaming(Source(error), opening="connected"), "GET", "/")
    assert (answer.status, answer.pieces) == (200, [b": connected\n\n", format_error(error)])


def test_a_failure_before_the_first_event_is_a_status() -> None:
    source = Source(InvalidRequest("too long"))
    answer = ask(streaming(source), "GET", "/")
    assert (answer.status, answer.json()["message"]) == (400, "too long")
    assert source.closed.is_set()


def test_a_later_failure_is_a_last_event_and_no_done() -> None:
    error = EngineDied("the model's process ended")
    answer = ask(streaming(Source(1, error)), "GET", "/")
    assert answer.pieces == [b"data: 1\n\n", format_error(error)]


def test_a_later_unexpected_failure_names_the_request(caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(streaming(Source(1, KeyError("secret"))), "GET", "/")
    id = answer.headers["x-request-id"]
    assert id.encode() in answer.pieces[-1]
    assert id in caplog.text


@pytest.mark.parametrize("values", [(...,), (1, ...)], ids=["before the first", "later"])
def test_a_client_that_leaves_closes_the_iterator(values: tuple[Any, ...]) -> None:
    source = Source(*values)
    sent = play(streaming(source), source, leave)
    assert bodies(sent) == [b"data: 1\n\n"] * (len(values) - 1)
    assert source.closed.is_set()


def test_shutting_down_ends_a_stream_with_the_reason() -> None:
    source, closing = Source(1, ...), asyncio.Event()
    sent = play(streaming(source, closing=closing), source, lambda _: closing.set())
    reason = ShuttingDown("The server is shutting down.")
    assert bodies(sent) == [b"data: 1\n\n", format_error(reason)]
    assert sent[-1]["more_body"] is False
    assert source.closed.is_set()


def test_shutting_down_before_the_first_event_is_a_503() -> None:
    source, closing = Source(...), asyncio.Event()
    sent = play(streaming(source, closing=closing), source, lambda _: closing.set())
    assert sent[0]["status"] == 503
    assert source.closed.is_set()


def test_a_silent_stream_is_kept_open_by_comments() -> None:
    source = Source(1, ...)

    async def scene() -> list[bytes]:
        sent: list[bytes] = []
        incoming: asyncio.Queue[Message] = asyncio.Queue()

        async def send(message: Message) -> None:
            sent.append(message.get("body", b"headers"))
            if sent[-2:] == [format_comment()] * 2:
                leave(incoming)

        await _run(streaming(source, heartbeat=0.001), incoming, send)
        return sent

    assert asyncio.run(scene()) == [b"headers", b"data: 1\n\n", *[format_comment()] * 2]


def test_there_are_no_comments_before_the_headers() -> None:
    source = Source(...)

    async def scene() -> list[Message]:
        sent: list[Message] = []
        incoming: asyncio.Queue[Message] = asyncio.Queue()

        async def send(message: Message) -> None:
            sent.append(message)

        stream = asyncio.create_task(_run(streaming(source, heartbeat=0.001), incoming, send))
        await source.waits.wait()
        asyncio.get_running_loop().call_later(0.01, leave, incoming)
        await stream
        return sent

    assert asyncio.run(scene()) == []


def test_a_reader_that_takes_nothing_loses_its_stream(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    source = Source(1, 2)

    async def never(message: Message) -> None:
        await asyncio.Event().wait()

    asyncio.run(_run(streaming(source, send_seconds=0.01), asyncio.Queue(), never))
    assert source.closed.is_set()
    assert "a reader took nothing for 0.01 s and lost its stream" in caplog.text


def test_a_reader_that_is_behind_may_leave() -> None:
    """No comment waits for what it has not taken."""
    source = Source(1, ...)

    async def scene() -> None:
        incoming: asyncio.Queue[Message] = asyncio.Queue()

        async def never(message: Message) -> None:
            asyncio.get_running_loop().call_later(0.05, leave, incoming)
            await asyncio.Event().wait()

        async with asyncio.timeout(30):
            await _run(streaming(source, heartbeat=0.001, send_seconds=60), incoming, never)

    asyncio.run(scene())
    assert source.closed.is_set()


def test_head_starts_nothing() -> None:
    source = Source(1, ...)
    answer = ask(streaming(source), "HEAD", "/")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert not source.waits.is_set()


def test_an_iterator_that_is_no_generator_will_do() -> None:
    class Two:
        left = 2

        def __aiter__(self) -> "Two":
            return self

        async def __anext__(self) -> int:
            self.left -= 1
            if self.left < 0:
                raise StopAsyncIteration
            return self.left

    async def handler(context: None, request: Request) -> Response:
        return EventStream(Two())

    app = Router([Route("GET", "/", handler)], None)
    assert ask(app, "GET", "/").pieces == [b"data: 1\n\n", b"data: 0\n\n", DONE]


def working(source: Source) -> ASGIApp:
    async def work() -> list[Any]:
        return [value async for value in source.events()]

    async def handler(context: None, request: Request) -> Response:
        return json_response(await while_connected(request, work()))

    return Errors(Router([Route("GET", "/", handler)], None))


def test_work_is_done_while_its_client_is_connected() -> None:
    assert ask(working(Source(1, 2)), "GET", "/").json() == [1, 2]
    assert ask(working(Source(1, InvalidRequest("no"))), "GET", "/").status == 400


def test_work_ends_when_its_client_leaves() -> None:
    source = Source(1, ...)
    assert play(working(source), source, leave) == []
    assert source.closed.is_set()


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def test_on_the_wire_each_event_is_one_chunk() -> None:
    with served(streaming(Source(1, {"a": 2}))) as address:
        answer = exchange(address, GET)
    chunks = b'9\r\ndata: 1\n\n\r\nf\r\ndata: {"a":2}\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n'
    assert answer.partition(b"\r\n\r\n")[2] == chunks


@pytest.mark.parametrize("make", [streaming, working])
def test_on_the_wire_a_client_that_leaves_is_noticed_while_nothing_is_sent(make: Any) -> None:
    source = Source(1, ...)
    with served(make(source)) as address:
        with socket.create_connection(address) as client:
            client.sendall(GET)
            if make is streaming:
                assert client.recv(100)
        assert source.closed.wait(60)


def test_on_the_wire_a_reader_that_takes_nothing_is_noticed() -> None:
    source = Source(*["x" * 1_000_000] * 100)
    app = streaming(source, send_seconds=0.2)
    with served(app) as address, socket.create_connection(address) as client:
        client.sendall(GET)
        assert source.closed.wait(60)


def test_on_the_wire_a_broken_stream_does_not_end_like_a_whole_one() -> None:
    source = Source(1, ...)
    closing = threading.Event()
    shutting = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def close_when_told() -> None:
            await asyncio.to_thread(closing.wait)
            shutting.set()

        telling = asyncio.create_task(close_when_told())
        await streaming(source, closing=shutting)(scope, receive, send)
        await telling

    with served(app) as address, socket.create_connection(address) as client:
        client.sendall(GET)
        assert client.recv(100)
        closing.set()
        rest = b"".join(iter(lambda: client.recv(65536), b""))
    assert b"shutting_down" in rest
    assert b"[DONE]" not in rest
