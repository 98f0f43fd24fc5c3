"""Assistants: list, create, read, change, delete."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from jan_server import ids
from jan_server.errors import (
    WRITING,
    AlreadyExists,
    DataFolderMissing,
    FileBroken,
    FileUnreadable,
    InvalidId,
    InvalidRequest,
    LiesOutside,
    NotFound,
    NotReady,
    ParameterNotSupported,
    PreconditionFailed,
)
from jan_server.routes import thread_assistants
from jan_server.routes.documented import (
    changed_response,
    document_condition,
    entry_response,
    index_response,
)
from jan_server.runs.asking import functions_of_file
from jan_server.services import Services
from jan_server.store import Entry, Store, formats, paths
from jan_server.store.collection import Condition
from jan_server.store.document import written
from jan_server.types.assistant import (
    Assistant,
    AssistantList,
    CreateAssistant,
    DeletedAssistant,
    ModifyAssistant,
)
from jan_server.types.page import PageQuery
from jan_server.web.requests import read_json, read_query
from jan_server.web.responses import json_response
from jan_server.web.routing import Route


async def list_assistants(services: Services, request: Request) -> Response:
    query = read_query(request, PageQuery)
    return await index_response(services.store.assistants.index, request, query)


async def create_assistant(services: Services, request: Request) -> Response:
    _, sent = await read_json(request, CreateAssistant, required=False)
    functions_of_file(sent.get("tools"))
    return changed_response(
        "assistant", request, await asyncio.to_thread(_create, services.store, sent)
    )


async def get_assistant(services: Services, request: Request) -> Response:
    id = request.path_params["assistant_id"]
    try:
        return await entry_response(services.store.assistants, request, id)
    except NotFound:
        if thread := await thread_assistants.find(services, request, id):
            return thread_assistants.answer(services, request, thread)
        raise


async def modify_assistant(services: Services, request: Request) -> Response:
    id, check = request.path_params["assistant_id"], document_condition(request)
    if thread := await thread_assistants.find(services, request, id):
        return await thread_assistants.change(services, request, thread)
    _, sent = await read_json(request, ModifyAssistant)
    functions_of_file(sent.get("tools"))
    if sent.get("id", id) != id:
        raise InvalidRequest(
            f"$.id: an assistant keeps its id; this one's is {id!r}. Rename its folder by hand.",
            param="$.id",
        )
    changed = await asyncio.to_thread(_modify, services.store, id, sent, condition=check)
    return changed_response("assistant", request, changed)


async def delete_assistant(services: Services, request: Request) -> Response:
    id = request.path_params["assistant_id"]
    delete = partial(services.store.assistants.delete, id, condition=document_condition(request))
    await asyncio.to_thread(delete)
    return json_response(DeletedAssistant(id=id))


def _create(store: Store, sent: Mapping[str, Any]) -> Entry:
    """With the id that was sent, else one of its name, which is never taken."""
    now, generation, chosen = time.time(), store.generation, sent.get("id")
    if chosen is not None:
        ids.check_new_id("assistant", chosen, param="$.id")

    def contents(id: str) -> dict[str, bytes]:
        value = formats.new_assistant(generation, id=id, now=now, given=sent)
        return {paths.ASSISTANTS.document: written(value)}

    id = chosen or ids.new_assistant_id(sent.get("name") or "")
    created = store.assistants.create(id, contents, with_suffix=chosen is None)
    return store.assistants.shown(created.id)


def _modify(store: Store, id: str, sent: Mapping[str, Any], *, condition: Condition) -> Entry:
    changes = {key: value for key, value in sent.items() if key not in formats.PROTECTED}
    changed = store.assistants.change(id, changes, condition=condition)
    return store.assistants.shown(changed.id)


MODIFY = Route(
    "PATCH",
    "/assistants/{assistant_id}",
    modify_assistant,
    operation_id="modifyAssistant",
    tag="Assistants",
    summary="Modify assistant",
    description="Replaces top-level keys; a change that alters nothing writes nothing.",
    request=ModifyAssistant,
    response=Assistant,
    errors=(
        InvalidRequest,
        ParameterNotSupported,
        InvalidId,
        NotFound,
        PreconditionFailed,
        FileBroken,
        FileUnreadable,
        *WRITING,
    ),
)

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
        errors=(InvalidRequest, NotReady, DataFolderMissing),
    ),
    Route(
        "POST",
        "/assistants",
        create_assistant,
        operation_id="createAssistant",
        tag="Assistants",
        summary="Create assistant",
        description="Everything may be left out; without an `id` it is made of the name.",
        request=CreateAssistant,
        request_required=False,
        response=Assistant,
        errors=(InvalidRequest, ParameterNotSupported, InvalidId, AlreadyExists, *WRITING),
    ),
    Route(
        "GET",
        "/assistants/{assistant_id}",
        get_assistant,
        operation_id="getAssistant",
        tag="Assistants",
        summary="Retrieve assistant",
        response=Assistant,
        errors=(InvalidId, NotFound, PreconditionFailed, FileUnreadable),
    ),
    MODIFY,
    # OpenAI's clients post a change.
    replace(MODIFY, method="POST", operation_id="updateAssistant"),
    Route(
        "DELETE",
        "/assistants/{assistant_id}",
        delete_assistant,
        operation_id="deleteAssistant",
        tag="Assistants",
        summary="Delete assistant",
        description="Moves it to the trash; threads keep what they hold of it.",
        response=DeletedAssistant,
        errors=(InvalidId, NotFound, PreconditionFailed, FileBroken, LiesOutside, *WRITING),
    ),
]
