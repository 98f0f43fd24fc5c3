"""Threads: list, create, read, change, delete."""

from __future__ import annotations

import asyncio
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
    NotFound,
    NotReady,
    PreconditionFailed,
)
from jan_server.routes.documented import (
    changed_response,
    document_condition,
    entry_response,
    index_response,
)
from jan_server.routes.messages import check_content
from jan_server.services import Services
from jan_server.store import Entry, Store, formats
from jan_server.store.collection import Condition
from jan_server.types.page import PageQuery
from jan_server.types.thread import CreateThread, DeletedThread, ModifyThread, Thread, ThreadList
from jan_server.web.requests import read_json, read_query
from jan_server.web.responses import json_response
from jan_server.web.routing import Route

# What the server says about a thread, whoever sends it.
OURS = formats.PROTECTED | {"updated", "updated_at"}
DOCUMENTED = frozenset({"title", "assistants", "messages", "metadata"})


async def list_threads(services: Services, request: Request) -> Response:
    query = read_query(request, PageQuery)
    return await index_response(services.store.threads.index, request, query)


async def create_thread(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, CreateThread, required=False)
    created = await asyncio.to_thread(create, services, asked, sent)
    return changed_response("thread", request, created)


async def get_thread(services: Services, request: Request) -> Response:
    return await entry_response(services.store.threads, request, request.path_params["thread_id"])


async def modify_thread(services: Services, request: Request) -> Response:
    _, sent = await read_json(request, ModifyThread)
    id = request.path_params["thread_id"]
    if "messages" in sent:
        raise InvalidRequest(
            f"Messages are not changed through their thread: use POST /v1/threads/{id}/messages.",
            param="$.messages",
        )
    is_whole_save = sent.get("id") == id and "if-match" not in request.headers
    check = document_condition(request)
    changed = await asyncio.to_thread(
        _modify, services, id, sent, condition=check, is_whole_save=is_whole_save
    )
    return changed_response("thread", request, changed)


async def delete_thread(services: Services, request: Request) -> Response:
    id = request.path_params["thread_id"]
    delete = partial(services.store.threads.delete, id, condition=document_condition(request))
    await asyncio.to_thread(delete)
    return json_response(DeletedThread(id=id))


def create(services: Services, asked: CreateThread, sent: Mapping[str, Any]) -> Entry:
    """A new thread with its messages. Raises as Store.create_thread, and for what is sent wrong."""
    messages = sent.get("messages") or []
    for index, message in enumerate(asked.messages or []):
        check_content(message.content, f"$.messages[{index}].content")
    id = sent.get("id")
    if id is not None:
        ids.check_new_id("thread", id, param="$.id")
    thread = services.store.create_thread(
        id=id,
        assistants=_assistants(services, sent.get("assistants")),
        title=asked.title or "New Thread",
        metadata=asked.metadata or {},
        messages=messages,
        extra={key: value for key, value in sent.items() if key not in OURS | DOCUMENTED},
    )
    return services.store.threads.shown(thread.id)


def _modify(
    services: Services,
    id: str,
    sent: Mapping[str, Any],
    *,
    condition: Condition,
    is_whole_save: bool,
) -> Entry:
    changes = {key: value for key, value in sent.items() if key not in OURS}
    if is_whole_save:
        # Jan 0.5 saves a whole thread with the assistants it once read; taking them would undo
        # what was changed since. It changes them through PATCH /assistants/{thread id}.
        changes.pop("assistants", None)
    if changes.get("assistants"):
        changes["assistants"] = _assistants(services, changes["assistants"])
    changed = services.store.threads.change(id, changes, condition=condition)
    return services.store.threads.shown(changed.id)


def _assistants(services: Services, sent: list[Any] | None) -> list[dict[str, Any]]:
    """The assistants as a thread's file holds them: named ones from their files, others as sent."""
    store, default = services.store, services.settings.default_assistant
    if not sent:
        known = store.assistants.has(default)
        return [_from_file(store, default) if known else {"assistant_id": default, "model": {}}]
    return [
        _from_file(store, item, param=f"$.assistants[{index}]")
        if isinstance(item, str)
        else _as_sent(item, default, param=f"$.assistants[{index}]")
        for index, item in enumerate(sent)
    ]


def _from_file(store: Store, id: str, *, param: str | None = None) -> dict[str, Any]:
    """What Jan puts into a thread for an assistant. Raises InvalidId and NotFound."""
    ids.check_lookup_id("assistant", id, param=param)
    value = store.assistants.get(id).value
    # "*" is Jan's word for "none chosen". The parameters stay in the assistant's file, so that an
    # edit of it counts in threads that it is in already.
    model = value.get("model")
    chosen = {"id": model} if isinstance(model, str) and model != "*" else {}
    return {
        "assistant_id": id,
        "assistant_name": value.get("name", id),
        "instructions": value.get("instructions", ""),
        "model": {**chosen, "settings": {}, "parameters": {}},
    }


def _as_sent(item: Mapping[str, Any], default: str, *, param: str) -> dict[str, Any]:
    key = "id" if "id" in item and "assistant_id" not in item else "assistant_id"
    id = item.get(key, default)
    if not isinstance(id, str):
        raise InvalidRequest(f"{param}.{key}: expected a string.", param=f"{param}.{key}")
    ids.check_new_id("assistant", id, param=f"{param}.{key}")
    return {**item} if key in item else {"assistant_id": id, **item}


MODIFY = Route(
    "PATCH",
    "/threads/{thread_id}",
    modify_thread,
    operation_id="modifyThread",
    tag="Threads",
    summary="Modify thread",
    description="Replaces top-level keys; a change that alters nothing writes nothing.",
    request=ModifyThread,
    response=Thread,
    errors=(
        InvalidRequest,
        InvalidId,
        NotFound,
        FileBroken,
        FileUnreadable,
        PreconditionFailed,
        *WRITING,
    ),
    names=("assistant",),
)

ROUTES = [
    Route(
        "GET",
        "/threads",
        list_threads,
        operation_id="listThreads",
        tag="Threads",
        summary="List threads",
        description="Last updated first. A bare array; a list object for clients that page.",
        query=PageQuery,
        response=list[Thread] | ThreadList,
        errors=(InvalidRequest, NotReady, DataFolderMissing),
    ),
    Route(
        "POST",
        "/threads",
        create_thread,
        operation_id="createThread",
        tag="Threads",
        summary="Create thread",
        description="With its messages, if there are any. Everything may be left out.",
        request=CreateThread,
        request_required=False,
        response=Thread,
        errors=(InvalidRequest, InvalidId, NotFound, AlreadyExists, *WRITING),
        names=("assistant",),
    ),
    Route(
        "GET",
        "/threads/{thread_id}",
        get_thread,
        operation_id="getThread",
        tag="Threads",
        summary="Retrieve thread",
        response=Thread,
        errors=(InvalidId, NotFound, FileUnreadable, PreconditionFailed),
    ),
    MODIFY,
    # OpenAI's clients post a change.
    replace(MODIFY, method="POST", operation_id="updateThread"),
    Route(
        "DELETE",
        "/threads/{thread_id}",
        delete_thread,
        operation_id="deleteThread",
        tag="Threads",
        summary="Delete thread",
        description="Moves the thread with its messages to the trash.",
        response=DeletedThread,
        errors=(InvalidId, NotFound, FileBroken, PreconditionFailed, *WRITING),
    ),
]
