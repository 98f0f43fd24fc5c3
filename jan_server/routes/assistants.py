"""Assistants: list, read."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from jan_server import representations
from jan_server.errors import FileUnreadable, InvalidId, InvalidRequest, NotFound
from jan_server.services import Services
from jan_server.store import formats
from jan_server.store.document import Document
from jan_server.types.assistant import Assistant, AssistantList
from jan_server.types.page import PageQuery
from jan_server.web.requests import read_query
from jan_server.web.responses import json_response, stale_headers
from jan_server.web.routing import Route


async def list_assistants(services: Services, request: Request) -> Response:
    query = read_query(request, PageQuery)
    client = representations.client_of(request.headers, query)

    def listed() -> Any:
        oldest_first = sorted(services.store.assistants.list(), key=lambda a: (_created(a), a.id))
        return representations.listing("assistants", oldest_first, query, client, show=_shown)

    return json_response(await asyncio.to_thread(listed))


async def get_assistant(services: Services, request: Request) -> Response:
    id = request.path_params["assistant_id"]
    document = await asyncio.to_thread(services.store.assistants.get, id)
    return json_response(_shown(document), headers=stale_headers(document.stale))


def _shown(document: Document) -> dict[str, Any]:
    created = _created(document)
    return representations.assistant(document.value, id=document.id, created_at=created)


def _created(document: Document) -> int:
    return int(formats.seconds(document.value.get("created_at")) or document.mtime)


ROUTES = [
    Route(
        "GET",
        "/assistants",
        list_assistants,
        operation_id="listAssistants",
        tag="Assistants",
        summary="List assistants",
        description="Newest first. A bare array; a list object for clients that page.",
        query=PageQuery,
        response=list[Assistant] | AssistantList,
        errors=(InvalidRequest,),
    ),
    Route(
        "GET",
        "/assistants/{assistant_id}",
        get_assistant,
        operation_id="getAssistant",
        tag="Assistants",
        summary="Retrieve assistant",
        response=Assistant,
        errors=(InvalidId, NotFound, FileUnreadable),
    ),
]
