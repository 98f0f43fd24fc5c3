"""The trash: list what was deleted, put it back, or remove it for good."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from jan_server import representations
from jan_server.errors import (
    WRITING,
    AlreadyExists,
    FileUnreadable,
    InvalidId,
    InvalidRequest,
    LiesOutside,
    NotFound,
    PreconditionFailed,
)
from jan_server.routes.entities import entity_response, entity_tag
from jan_server.services import Services
from jan_server.store.deletion import Deletion
from jan_server.types.trash import FreedDeletion, Restored, Trash, TrashDeletion
from jan_server.web.conditions import condition
from jan_server.web.responses import json_response
from jan_server.web.routing import Route


async def list_trash(services: Services, _request: Request) -> Response:
    def listed() -> dict[str, Any]:
        items = services.store.trash.list()
        found = representations.list_object(items, show=lambda item: _shown(services, item))
        return {**found, "bytes": sum(item.bytes for item in items)}

    return json_response(await asyncio.to_thread(listed))


async def get_deletion(services: Services, request: Request) -> Response:
    item = await asyncio.to_thread(services.store.trash.get, request.path_params["deletion_id"])
    return entity_response(request, _shown(services, item))


async def restore_deletion(services: Services, request: Request) -> Response:
    id = request.path_params["deletion_id"]
    back = await asyncio.to_thread(services.store.restore, id)
    return json_response(representations.restored(id, back))


async def free_deletion(services: Services, request: Request) -> Response:
    id, check = request.path_params["deletion_id"], condition(request)

    def free() -> None:
        item = services.store.trash.get(id)
        check(entity_tag(_shown(services, item)))
        services.store.trash.free(item.path)

    await asyncio.to_thread(free)
    return json_response(FreedDeletion(id=id))


def _shown(services: Services, item: Deletion) -> TrashDeletion:
    return representations.deletion(item, trash_days=services.settings.trash_days)


ROUTES = [
    Route(
        "GET",
        "/trash",
        list_trash,
        operation_id="listTrash",
        tag="Trash",
        summary="List trash",
        description="Newest first, always a list object, and all of it.",
        response=Trash,
    ),
    Route(
        "GET",
        "/trash/{deletion_id}",
        get_deletion,
        operation_id="getDeletion",
        tag="Trash",
        summary="Retrieve deletion",
        response=TrashDeletion,
        errors=(NotFound, PreconditionFailed),
    ),
    Route(
        "POST",
        "/trash/{deletion_id}/restore",
        restore_deletion,
        operation_id="restoreDeletion",
        tag="Trash",
        summary="Restore deletion",
        description="Moves it back to where it was; nothing is moved when its name is taken again.",
        response=Restored,
        errors=(NotFound, AlreadyExists, LiesOutside, FileUnreadable, InvalidId, *WRITING),
        names=("thread",),
    ),
    Route(
        "DELETE",
        "/trash/{deletion_id}",
        free_deletion,
        operation_id="freeDeletion",
        tag="Trash",
        summary="Delete for good",
        description="Frees the space at once. Nothing brings it back.",
        response=FreedDeletion,
        errors=(InvalidRequest, NotFound, PreconditionFailed, *WRITING),
    ),
]
