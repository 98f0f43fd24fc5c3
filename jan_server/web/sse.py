"""Server-sent events: the framing, and a stream of events as one answer.

Each event is one write. The headers wait for the first event, so that what fails before it is a
status; but an opening comment, for a stream that may be silent for long, takes them along at once.
What fails later is a last event with the error, and no `[DONE]`. Whatever ends the stream, the
iterator is closed before the answer is over, and it is not waited for: the client leaves, takes
nothing for too long, or the server shuts down.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jan_server.errors import JanError, ShuttingDown
from jan_server.web.errors import ErrorForm, error_body, translate
from jan_server.web.responses import client_left, end_tasks

logger = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"
DONE = b"data: [DONE]\n\n"
SEND_SECONDS = 30.0


class Named(NamedTuple):
    """An event that has more than data: a type to be told apart by, and, where a reader can go on
    after it, an id.

    Both are one line. Browsers give them to a handler of that type only.
    """

    id: str | None
    type: str
    data: Any


class Together(NamedTuple):
    """Events that are one write: what has come in the same moment."""

    events: tuple[Any, ...]


class Comment(NamedTuple):
    """What a stream says without an event: clients pass over it. One line."""

    text: str


def format_event(value: Any) -> bytes:
    """One event, its data as JSON, which never holds a line break; or a comment, or several."""
    if isinstance(value, Together):
        return b"".join(map(format_event, value.events))
    if isinstance(value, Comment):
        return format_comment(value.text)
    if isinstance(value, Named):
        id = "" if value.id is None else f"id: {value.id}\n"
        return f"{id}event: {value.type}\n".encode() + format_event(value.data)
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def format_error(error: JanError) -> bytes:
    """The last event of a stream that failed after it had begun."""
    return format_event({"error": error_body(error).error})


def format_comment(text: str = "") -> bytes:
    """What clients pass over: keeps a silent connection open. One line."""
    return f": {text}".rstrip().encode() + b"\n\n"


class Framing(Protocol):
    """How a stream is put into bytes. `end` is what follows the last event.

    What gives no bytes is not sent.
    """

    media_type: str
    end: bytes

    def event(self, value: Any) -> bytes: ...
    def error(self, error: JanError) -> bytes: ...


class Events:
    """Server-sent events, as OpenAI's: the error is an event, `[DONE]` follows the last one."""

    media_type = EVENT_STREAM
    end = DONE

    def event(self, value: Any) -> bytes:
        return format_event(value)

    def error(self, error: JanError) -> bytes:
        return format_error(error)


class TypedEvents:
    """Events that are told apart by their `type`: the tag of their Structs. No `[DONE]`.

    An error is one too, in the form that the API has for it.
    """

    media_type = EVENT_STREAM
    end = b""

    def __init__(self, form: ErrorForm) -> None:
        self._form = form

    def event(self, value: Any) -> bytes:
        if isinstance(value, Comment):
            return format_event(value)
        return format_event(Named(None, value.__struct_config__.tag, value))

    def error(self, error: JanError) -> bytes:
        return format_event(Named(None, "error", self._form.make(error)))


class EventStream(Response):
    """An answer of what `events` gives, each as `framing` has it, then its end, or `ending`.

    `opening`: a comment that is sent with the headers, before there is an event. `heartbeat`: a
    comment after so many silent seconds. `send_seconds`: a reader that takes nothing for so long
    loses its stream. The router's `closing` ends the stream with ShuttingDown.
    """

    def __init__(
        self,
        events: AsyncIterator[Any],
        *,
        framing: Framing = Events(),  # noqa: B008 - it holds nothing
        ending: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        opening: str = "",
        heartbeat: float | None = None,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        self.media_type = framing.media_type
        self.status_code = 200
        self.background = None
        self.init_headers(
            {"cache-control": "no-cache", "x-accel-buffering": "no", **(headers or {})}
        )
        self._events = events
        self._framing = framing
        self._ending = framing.end if ending is None else ending
        self._opening = opening
        self._heartbeat = heartbeat
        self._send_seconds = send_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = _Writer(self, send, self._framing.error, seconds=self._send_seconds)
        try:
            if scope["method"] == "HEAD":
                await writer.write(b"", last=True)
            else:
                await self._stream(scope.get("state", {}), receive, writer)
        except _ReaderStalled:
            # Nothing more can be said to it; the server below closes the connection.
            logger.info("a reader took nothing for %g s and lost its stream", self._send_seconds)
        finally:
            await _close(self._events)

    async def _stream(self, state: Mapping[str, Any], receive: Receive, writer: _Writer) -> None:
        sending = asyncio.create_task(self._send_all(writer, state.get("request_id", "")))
        leaving = asyncio.create_task(client_left(receive))
        closing = asyncio.create_task(state.get("closing", asyncio.Event()).wait())
        tasks = {sending, leaving, closing}
        try:
            while not (await _first_of(tasks, self._heartbeat)):
                await writer.beat()
            if sending.done():
                return sending.result()
        finally:
            await end_tasks(*tasks)
        if closing.done() and not closing.cancelled():
            await writer.fail(ShuttingDown("The server is shutting down."))
        return None

    async def _send_all(self, writer: _Writer, request_id: str) -> None:
        try:
            if self._opening:
                await writer.write(format_comment(self._opening))
            async for value in self._events:
                if data := self._framing.event(value):
                    await writer.write(data)
        except _ReaderStalled:
            raise
        except Exception as error:
            if not writer.begun:
                raise
            await writer.fail(translate(error, request_id))
        else:
            await writer.write(self._ending, last=True)


class _ReaderStalled(Exception):
    pass


class _Writer:
    """Sends whole events, the headers before the first of them."""

    def __init__(
        self,
        response: Response,
        send: Send,
        format_error: Callable[[JanError], bytes],
        *,
        seconds: float,
    ) -> None:
        self._response = response
        self._send = send
        self._format_error = format_error
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self.begun = False

    async def write(self, body: bytes, *, last: bool = False) -> None:
        """Raises _ReaderStalled."""
        try:
            async with self._lock, asyncio.timeout(self._seconds):
                await self._begin()
                await self._send(
                    {"type": "http.response.body", "body": body, "more_body": not last}
                )
        except TimeoutError as error:
            raise _ReaderStalled from error

    async def beat(self) -> None:
        """A comment, unless the headers still wait, or the reader is behind already."""
        if self.begun and not self._lock.locked():
            await self.write(format_comment())

    async def fail(self, error: JanError) -> None:
        """Ends the stream with the error; raises it where a status can still tell it."""
        if not self.begun:
            raise error
        await self.write(self._format_error(error), last=True)

    async def _begin(self) -> None:
        if not self.begun:
            self.begun = True
            await self._send(
                {
                    "type": "http.response.start",
                    "status": self._response.status_code,
                    "headers": self._response.raw_headers,
                }
            )


async def _first_of(tasks: set[asyncio.Task[Any]], seconds: float | None) -> bool:
    ended, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return bool(ended)


async def _close(events: AsyncIterator[Any]) -> None:
    """Async generators have `aclose`; an iterator without it holds nothing open."""
    if (aclose := getattr(events, "aclose", None)) is not None:
        await aclose()
