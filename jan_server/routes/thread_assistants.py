"""`/assistants/{thread id}`: the assistant inside a thread, for Jan 0.5's UI, which asks so.

An assistant of that id comes first, and OpenAI's clients are never answered with a thread's.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from jan_server.errors import NotFound
from jan_server.representations import Client, client_of
from jan_server.services import Services
from jan_server.store import Document, thread_assistant
from jan_server.store.document import etag
from jan_server.types.jan05 import ThreadAssistant
from jan_server.types.page import PageQuery
from jan_server.web.conditions import condition, resource_headers, resource_response
from jan_server.web.requests import read_json
from jan_server.web.responses import json_response


async def find(services: Services, request: Request, id: str) -> Document | None:
    """The thread that is meant; None when the id is an assistant's, or nobody's."""
    if client_of(request.headers, PageQuery()) is Client.OPENAI:
        return None
    return await asyncio.to_thread(_thread, services, id)


def answer(services: Services, request: Request, thread: Document) -> Response:
    """The assistant in it, or a 304."""
    shown, tag = _shown(services, thread)
    return resource_response(request, shown, etag=tag, stale=thread.stale)


async def change(services: Services, request: Request, thread: Document) -> Response:
    """Give keys of the assistant in it new values; its other keys stay as they are by then."""
    check = condition(request)
    _, sent = await read_json(request, ThreadAssistant)
    changed = await asyncio.to_thread(
        services.store.threads.change,
        thread.id,
        lambda value: {"assistants": thread_assistant.changed(value, sent)},
        condition=lambda found: check(_shown(services, found)[1]),
    )
    shown, tag = _shown(services, changed)
    return json_response(shown, headers=resource_headers(tag))


def _thread(services: Services, id: str) -> Document | None:
    store = services.store
    try:
        return None if store.assistants.has(id) else store.threads.get(id)
    except NotFound:
        return None


def _shown(services: Services, thread: Document) -> tuple[dict[str, Any], str]:
    """The assistant, and the ETag of this view of the thread."""
    default = _a_model(services)
    shown = thread_assistant.shown(thread.value, default_model=default)
    return shown, etag(thread.raw, view="assistant", state=default)


def _a_model(services: Services) -> str:
    """One that can answer, if there is any: the UI opens no thread whose model is not there."""
    default = services.models.default_id()
    there = [model.id for model in services.models.list()]
    return default if default in there or not there else there[0]
