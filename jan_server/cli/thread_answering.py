"""A chat that is a thread: a question is a message of it, and its answer a run's reply.

The running server does it, or this process where none runs; either way what is said is on the disk
as with any run. Closing a stream cancels its run: what it had said stays, as a message that is
incomplete, and the thread is free for the next question.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol

import msgspec

from jan_server import presence
from jan_server.cli.answering import Answering, Body, Chunk, converted
from jan_server.cli.client import ServerFailed, quoted
from jan_server.cli.folder import open_store
from jan_server.cli.streams import Streams
from jan_server.errors import JanError, RunNotActive
from jan_server.runs.events import TextAdded
from jan_server.runs.states import ACTIVE
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.types.run import CreateRun, Run, RunMessageDelta, StoredRun

LOOK_EVERY = 0.1
"""Seconds between two looks at a run that is being cancelled."""

Told = Run | str
"""Of a run: its state, or a piece of its text."""


class AnswerFailed(JanError):
    """The run has ended without an answer."""

    code = "run_failed"


class Replies(Protocol):
    """The runs of one thread."""

    where: str

    def begin(self, body: Body) -> AsyncGenerator[Told]:
        """A request of /v1/threads/{id}/runs, until its run is over. Raises JanError."""
        ...

    async def get(self, id: str) -> Run: ...

    async def cancel(self, id: str) -> Run:
        """Raises JanError with the code of RunNotActive."""
        ...

    async def close(self) -> None: ...


class OwnReplies:
    """Of this process."""

    where = "this command"

    def __init__(self, services: Services, thread: str) -> None:
        self._services = services
        self._thread = thread

    async def begin(self, body: Body) -> AsyncGenerator[Told]:
        asked = converted(body, CreateRun)
        messages = body["additional_messages"]
        begun = await self._services.runs.create(self._thread, asked, messages=messages)
        async with aclosing(begun.events) as events:
            async for told in events:
                for event in told:
                    match event.about:
                        case StoredRun() as run:
                            yield run
                        case TextAdded(_, text):
                            yield text

    async def get(self, id: str) -> Run:
        return await self._services.runs.get(self._thread, id)

    async def cancel(self, id: str) -> Run:
        return await self._services.runs.cancel(self._thread, id)

    async def close(self) -> None:
        await self._services.close()


class ServerReplies:
    """Of the running server."""

    def __init__(self, streams: Streams, thread: str) -> None:
        self.where = streams.where
        self._streams = streams
        self._path = f"/v1/threads/{quoted(thread)}/runs"

    async def begin(self, body: Body) -> AsyncGenerator[Told]:
        async with aclosing(self._streams.events(self._path, body)) as events:
            async for data in events:
                if (told := _told(data)) is not None:
                    yield told

    async def get(self, id: str) -> Run:
        return await self._streams.ask("GET", f"{self._path}/{id}", type=Run)

    async def cancel(self, id: str) -> Run:
        return await self._streams.ask("POST", f"{self._path}/{id}/cancel", type=Run)

    async def close(self) -> None:
        await self._streams.close()


class ThreadAnswering:
    """Streams requests for runs, as chunks of a chat's answer."""

    def __init__(self, replies: Replies) -> None:
        self.where = replies.where
        self._replies = replies

    async def stream(self, body: Body) -> AsyncGenerator[Chunk]:
        run: Run | None = None
        async with aclosing(self._replies.begin(body)) as told:
            try:
                async for each in told:
                    if isinstance(each, str):
                        yield {"choices": [{"delta": {"content": each}}]}
                    else:
                        run = each
                yield ending(run)
            finally:
                if run is not None and run.status in ACTIVE:
                    await self._stop(run.id)

    async def close(self) -> None:
        await self._replies.close()

    async def _stop(self, id: str) -> None:
        try:
            run = await self._replies.cancel(id)
        except JanError as error:
            if error.code != RunNotActive.code:
                raise
            return
        while run.status in ACTIVE:
            await asyncio.sleep(LOOK_EVERY)
            run = await self._replies.get(id)


async def open_thread_answering(settings: Settings, thread: str) -> Answering:
    """The running server's, or our own. Raises InvalidId and NotFound for the thread, ReadOnly."""
    open_store(settings).threads.get(thread)
    found = presence.find(settings.data_folder)
    if found is not None:
        return ThreadAnswering(ServerReplies(Streams(found, settings), thread))
    services = Services(msgspec.structs.replace(settings, watch="off"))
    services.store.check_writable()
    return ThreadAnswering(OwnReplies(services, thread))


def ending(run: Run | None) -> Chunk:
    """The last chunk of a run that is over. Raises AnswerFailed. Pure."""
    if run is None or run.status not in ("completed", "incomplete"):
        error = run and run.last_error
        status = run.status if run else "nobody began it"
        raise AnswerFailed(error.message if error else f"The answer has ended: {status}.")
    reason = "stop" if run.status == "completed" else "length"
    return {
        "choices": [{"delta": {}, "finish_reason": reason}],
        "usage": msgspec.to_builtins(run.usage),
    }


def _told(data: dict[str, Any]) -> Told | None:
    try:
        match data.get("object"):
            case "thread.run":
                return msgspec.convert(data, Run)
            case "thread.message.delta":
                delta = msgspec.convert(data, RunMessageDelta).delta
                return "".join(part.text.value for part in delta.content)
    except msgspec.ValidationError as error:
        raise ServerFailed(f"The server says of a run what is not understood: {error}.") from error
    return None
