"""Messages of a thread: list, append, read."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from jan_server import representations
from jan_server.errors import WRITING, FileUnreadable, InvalidId, InvalidRequest, NotFound
from jan_server.services import Services
from jan_server.store import Message as StoredMessage
from jan_server.store import formats
from jan_server.types.message import CreateMessage, Message, MessageList, SentPart, TextValue
from jan_server.types.page import PageQuery
from jan_server.web.requests import read_json, read_query
from jan_server.web.responses import json_response
from jan_server.web.routing import Route


async def list_messages(services: Services, request: Request) -> Response:
    query = read_query(request, PageQuery)
    client = representations.client_of(request.headers, query)
    id = request.path_params["thread_id"]

    def listed() -> Any:
        found = services.store.messages(id).list()
        return representations.listing("messages", found, query, client, show=partial(_shown, id))

    return json_response(await asyncio.to_thread(listed))


async def create_message(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, CreateMessage)
    check_content(asked.content, "$.content")
    id = request.path_params["thread_id"]
    [created] = await asyncio.to_thread(services.store.messages(id).append, [sent])
    services.following.thread_changed(id)
    return json_response(_shown(id, created))


async def retrieve_message(services: Services, request: Request) -> Response:
    id, message_id = request.path_params["thread_id"], request.path_params["message_id"]
    message = await asyncio.to_thread(services.store.messages(id).get, message_id)
    return json_response(_shown(id, message))


def check_content(content: str | list[SentPart], path: str) -> None:
    """Raises InvalidRequest for a text part without text; other kinds of parts are only kept."""
    for index, part in enumerate([] if isinstance(content, str) else content):
        if part.type == "text" and not isinstance(part.text, str | TextValue):
            place = f"{path}[{index}].text"
            raise InvalidRequest(f"{place}: it is missing.", param=place)


def _shown(thread_id: str, message: StoredMessage) -> dict[str, Any]:
    completed = formats.seconds(message.value.get("completed_at"))
    return representations.message(
        message.value,
        id=message.id,
        thread_id=thread_id,
        content=formats.message_content(message.value.get("content")),
        created_at=message.seconds,
        completed_at=None if completed is None else int(completed),
    )


ROUTES = [
    Route(
        "GET",
        "/threads/{thread_id}/messages",
        list_messages,
        operation_id="listMessages",
        tag="Messages",
        summary="List messages",
        description="In the order of the file; newest first and 20 at a time for OpenAI's SDKs.",
        query=PageQuery,
        response=MessageList,
        errors=(InvalidRequest, InvalidId, NotFound, FileUnreadable),
    ),
    Route(
        "POST",
        "/threads/{thread_id}/messages",
        create_message,
        operation_id="createMessage",
        tag="Messages",
        summary="Create message",
        description="Appends one line; no answer is generated.",
        request=CreateMessage,
        response=Message,
        errors=(InvalidRequest, InvalidId, NotFound, FileUnreadable, *WRITING),
    ),
    Route(
        "GET",
        "/threads/{thread_id}/messages/{message_id}",
        retrieve_message,
        operation_id="retrieveMessage",
        tag="Messages",
        summary="Retrieve message",
        response=Message,
        errors=(InvalidId, NotFound, FileUnreadable),
    ),
]
