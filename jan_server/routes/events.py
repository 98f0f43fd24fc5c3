"""What happens in the data folder, told as it happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from jan_server import ids
from jan_server.errors import DataFolderMissing, InvalidId, InvalidRequest, JanError, NotReady
from jan_server.events import Event, Kind, Resync, Told
from jan_server.routes import messages, models
from jan_server.services import Services
from jan_server.store import Collection
from jan_server.types.event import EventsQuery, ServerEvent
from jan_server.web.requests import read_query
from jan_server.web.routing import Route
from jan_server.web.sse import EventStream, Named

HEARTBEAT_SECONDS = 15.0
KINDS: tuple[Kind, ...] = get_args(Kind)
PREFIXES: dict[Kind, str] = {"message": "thread.message"}


async def watch_events(services: Services, request: Request) -> Response:
    query = read_query(request, EventsQuery)
    is_wanted = _filter(query)
    await asyncio.to_thread(services.store.wait_until_read)
    after = request.headers.get("last-event-id") or query.last_event_id or None
    told = services.events.listen(after=after)
    return EventStream(
        _wire(services, told, is_wanted),
        ending=b"",
        opening="connected",
        heartbeat=HEARTBEAT_SECONDS,
    )


def _filter(query: EventsQuery) -> Callable[[Event], bool]:
    """Whether an event was asked for. Raises InvalidRequest and InvalidId."""
    kinds = frozenset(query.kinds.split(",") if query.kinds else KINDS)
    if unknown := sorted(kinds - set(KINDS)):
        raise InvalidRequest(
            f"No kind of event is called {unknown[0][:80]!r}; there are {', '.join(KINDS)}.",
            param="kinds",
        )
    thread_id = query.thread_id or None
    if thread_id is None:
        return lambda event: event.kind in kinds
    ids.check_lookup_id("thread", thread_id, param="thread_id")
    return lambda event: event.kind in kinds and thread_id == _thread_of(event)


def _thread_of(event: Event) -> str | None:
    return event.id if event.kind == "thread" else event.thread_id


async def _wire(
    services: Services,
    told: AsyncGenerator[Told | Resync],
    is_wanted: Callable[[Event], bool],
) -> AsyncGenerator[Named]:
    async with contextlib.aclosing(told):
        async for item in told:
            if isinstance(item, Resync):
                resync = {"type": "resync", "reason": f"{item.reason}: read again what you need"}
                yield Named(item.id, "resync", resync)
            elif is_wanted(item.event):
                data = await _data(services, item.event)
                yield Named(item.id, data["type"], data)


async def _data(services: Services, event: Event) -> dict[str, Any]:
    data: dict[str, Any] = {
        "type": f"{PREFIXES.get(event.kind, event.kind)}.{event.change}",
        "kind": event.kind,
        "id": event.id,
        **({"thread_id": event.thread_id} if event.thread_id is not None else {}),
        "change": event.change,
        "cause": event.cause,
        "etag": await _etag(services, event),
        **({"problem": event.problem} if event.problem is not None else {}),
    }
    if event.resource is not None and event.change in ("created", "updated"):
        with contextlib.suppress(JanError):  # Gone or broken since: the next event says so.
            data[event.kind] = await SHOW[event.kind](services, event)
    return data


async def _message(_services: Services, event: Event) -> Any:
    return messages.shown(event.thread_id or "", event.resource)


async def _thread(services: Services, event: Event) -> Any:
    return await _entry(services.store.threads, event.id)


async def _assistant(services: Services, event: Event) -> Any:
    return await _entry(services.store.assistants, event.id)


async def _model(services: Services, event: Event) -> Any:
    return models.shown(await asyncio.to_thread(services.models.get, event.id))


async def _etag(services: Services, event: Event) -> str | None:
    """As GET answers it: a model's is of its state too, which no file says."""
    if event.kind != "model" or event.etag is None:
        return event.etag
    try:
        return (await asyncio.to_thread(services.models.get, event.id)).etag
    except JanError:
        return event.etag  # Gone or broken since.


async def _entry(collection: Collection, id: str) -> msgspec.Raw:
    entry = collection.index.current(id)
    if entry is None:
        entry = await asyncio.to_thread(collection.shown, id)
    return msgspec.Raw(entry.body)


async def _download(_services: Services, event: Event) -> Any:
    return event.resource


SHOW: dict[Kind, Callable[[Services, Event], Awaitable[Any]]] = {
    "message": _message,
    "thread": _thread,
    "assistant": _assistant,
    "model": _model,
    "download": _download,
}

ROUTES = [
    Route(
        "GET",
        "/events",
        watch_events,
        operation_id="watchEvents",
        tag="Events",
        summary="Watch what happens",
        description=(
            "A stream of server-sent events: every change of a thread, message, assistant or "
            "model, whether through this API or by hand in the data folder, and how far downloads "
            "are, once a second. It begins with a "
            "comment, as soon as the folder has been read for the first time, and goes on until "
            "one side leaves; comments keep it open. The header `Last-Event-ID` continues after an "
            "event; where that is not possible any more, the first event is of the type `resync`."
        ),
        query=EventsQuery,
        event=ServerEvent,
        errors=(InvalidRequest, InvalidId, NotReady, DataFolderMissing),
    ),
]
