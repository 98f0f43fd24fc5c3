"""Messages of a thread: list, append, read, change, delete."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from jan_server import representations
from jan_server.errors import (
    WRITING,
    FileUnreadable,
    InvalidId,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
)
from jan_server.services import Services
from jan_server.store import Message as StoredMessage
from jan_server.store import Messages, formats
from jan_server.types.message import (
    CreateMessage,
    DeletedMessage,
    Message,
    MessageList,
    MessageQuery,
    ModifyMessage,
    SentPart,
    TextValue,
)
from jan_server.web.conditions import condition, resource_headers, resource_response
from jan_server.web.requests import read_json, read_query
from jan_server.web.responses import json_bytes_response, json_response
from jan_server.web.routing import Route


async def list_messages(services: Services, request: Request) -> Response:
    query = read_query(request, MessageQuery)
    client = representations.client_of(request.headers, query)
    messages = services.store.messages(request.path_params["thread_id"])
    body = messages.kept_answer((messages.thread_id, client, query))
    if body is None:
        body = await asyncio.to_thread(_list, messages, query, client)
    return json_bytes_response(body)


async def create_message(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, CreateMessage)
    check_content(asked.content, "$.content")
    id, client = request.path_params["thread_id"], representations.client_of(request.headers)
    if client is representations.Client.OPENAI:  # Others, and people, may always add a message.
        await services.runs.check_idle(id)
    [created] = await services.appending.append(id, [sent])
    services.following.thread_changed(id)
    return _changed_response(id, created, client)


async def retrieve_message(services: Services, request: Request) -> Response:
    id, message_id = request.path_params["thread_id"], request.path_params["message_id"]
    messages = services.store.messages(id)
    message = messages.kept(message_id)
    if message is None:
        message = await asyncio.to_thread(messages.get, message_id)
    client = representations.client_of(request.headers)
    etag = representations.view_etag(client, message.etag)
    return resource_response(request, shown(id, message, client), etag=etag)


async def modify_message(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, ModifyMessage)
    if asked.content is not UNSET:
        check_content(asked.content, "$.content")
    id, message_id = request.path_params["thread_id"], request.path_params["message_id"]
    client = representations.client_of(request.headers)
    check, found = condition(request), list[StoredMessage]()

    def meet(message: StoredMessage) -> None:
        check(representations.view_etag(client, message.etag))
        found.append(message)

    modify = partial(services.store.messages(id).modify, message_id, sent, condition=meet)
    changed = await asyncio.to_thread(modify)
    if found[-1] is not changed:
        services.following.thread_changed(id)
    return _changed_response(id, changed, client)


async def delete_message(services: Services, request: Request) -> Response:
    id, message_id = request.path_params["thread_id"], request.path_params["message_id"]
    client, check = representations.client_of(request.headers), condition(request)

    def meet(message: StoredMessage) -> None:
        check(representations.view_etag(client, message.etag))

    delete = partial(services.store.messages(id).delete, message_id, condition=meet)
    await asyncio.to_thread(delete)
    services.following.thread_changed(id)
    return json_response(DeletedMessage(id=message_id))


def check_content(content: str | list[SentPart], path: str) -> None:
    """Raises InvalidRequest for a text part without text; other kinds of parts are only kept."""
    for index, part in enumerate([] if isinstance(content, str) else content):
        if part.type == "text" and not isinstance(part.text, str | TextValue):
            place = f"{path}[{index}].text"
            raise InvalidRequest(f"{place}: it is missing.", param=place)


def _list(messages: Messages, query: MessageQuery, client: representations.Client) -> bytes:
    """The body of a list; of the newest ones only the end of the file is read."""
    show = partial(shown, messages.thread_id, client=client)
    is_of_all = query.run_id is UNSET
    count = representations.newest("messages", query, client) if is_of_all else None

    def make_last(found: list[StoredMessage], has_more: bool) -> bytes:
        listed = representations.list_object(found[::-1], show=show, has_more=has_more)
        return msgspec.json.encode(listed)

    def make(found: Sequence[StoredMessage]) -> bytes:
        wanted = found if is_of_all else [m for m in found if m.value.get("run_id") == query.run_id]
        listed = representations.listing("messages", wanted, query, client, show=show)
        return msgspec.json.encode(listed)

    key = (messages.thread_id, client, query)
    return (
        messages.answer(key, make) if count is None else messages.answer_last(key, count, make_last)
    )


def _changed_response(
    thread_id: str, message: StoredMessage, client: representations.Client
) -> Response:
    headers = resource_headers(representations.view_etag(client, message.etag))
    return json_response(shown(thread_id, message, client), headers=headers)


def shown(
    thread_id: str,
    message: StoredMessage,
    client: representations.Client = representations.Client.DOCUMENT,
) -> dict[str, Any]:
    """As this client sees it."""
    completed = formats.seconds(message.value.get("completed_at"))
    value = representations.message(
        message.value,
        id=message.id,
        thread_id=thread_id,
        content=formats.message_content(message.value.get("content")),
        created_at=message.seconds,
        completed_at=None if completed is None else int(completed),
    )
    is_openai = client is representations.Client.OPENAI
    return representations.for_openai("message", value) if is_openai else value


MODIFY = Route(
    "PATCH",
    "/threads/{thread_id}/messages/{message_id}",
    modify_message,
    operation_id="modifyMessage",
    tag="Messages",
    summary="Modify message",
    description="Replaces keys of its line; a change that alters nothing writes nothing.",
    request=ModifyMessage,
    response=Message,
    errors=(InvalidRequest, InvalidId, NotFound, FileUnreadable, PreconditionFailed, *WRITING),
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
        query=MessageQuery,
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
        errors=(InvalidId, NotFound, FileUnreadable, PreconditionFailed),
    ),
    MODIFY,
    # OpenAI's clients post a change.
    replace(MODIFY, method="POST", operation_id="updateMessage"),
    Route(
        "DELETE",
        "/threads/{thread_id}/messages/{message_id}",
        delete_message,
        operation_id="deleteMessage",
        tag="Messages",
        summary="Delete message",
        description="Takes its line out of the file, into the trash.",
        response=DeletedMessage,
        errors=(InvalidId, NotFound, FileUnreadable, PreconditionFailed, *WRITING),
    ),
]
