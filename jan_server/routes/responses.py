"""OpenAI's Responses: create, stream, retrieve, delete, list what they were asked."""

from __future__ import annotations

from typing import Any, NoReturn

from starlette.requests import Request
from starlette.responses import Response

from jan_server import representations
from jan_server.dialects.responses.answer import error_event
from jan_server.errors import (
    WRITING,
    FileUnreadable,
    InvalidId,
    InvalidRequest,
    NotFound,
    ParameterNotSupported,
    PreconditionFailed,
    ReadOnly,
)
from jan_server.routes import answering
from jan_server.routes.callers import caller
from jan_server.routes.entities import entity_response, entity_tag
from jan_server.services import Services
from jan_server.types.page import PageQuery
from jan_server.types.response import (
    CreateResponse,
    DeletedResponse,
    ResponseErrorEvent,
    ResponseEvent,
    ResponseItems,
    ResponseQuery,
)
from jan_server.types.response import Response as ShownResponse
from jan_server.web.conditions import condition
from jan_server.web.errors import ErrorForm
from jan_server.web.requests import read_json, read_query
from jan_server.web.responses import json_response, while_connected
from jan_server.web.routing import Route
from jan_server.web.sse import TypedEvents

STREAM = TypedEvents(ErrorForm(ResponseErrorEvent, error_event))


async def create_response(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, CreateResponse)
    read = await services.responses.read(asked, sent)
    client = caller(request, read.translated.sent)
    if asked.stream is True:
        events = services.responses.stream(read, client=client)
        return answering.event_stream(events, framing=STREAM)
    work = services.responses.whole(read, client=client)
    return json_response(await while_connected(request, work))


async def get_response(services: Services, request: Request) -> Response:
    query = read_query(request, ResponseQuery)
    if query.stream:
        raise ParameterNotSupported(
            "stream: nothing is answered in the background here: read the response as it is.",
            param="stream",
        )
    response = await services.responses.get(request.path_params["response_id"])
    return entity_response(request, response)


async def delete_response(services: Services, request: Request) -> Response:
    id, check = request.path_params["response_id"], condition(request)

    def is_as_seen(response: ShownResponse) -> None:
        check(entity_tag(response))

    await services.responses.delete(id, condition=is_as_seen)
    return json_response(DeletedResponse(id=id))


async def cancel_response(services: Services, request: Request) -> NoReturn:
    await services.responses.get(request.path_params["response_id"])
    raise InvalidRequest(
        "Only a response in the background could be cancelled, and there are none here: whoever "
        "asked for it stops it by leaving."
    )


async def list_input_items(services: Services, request: Request) -> Response:
    query = read_query(request, PageQuery)
    items = await services.responses.items(request.path_params["response_id"])
    return json_response(_listed(items, query))


class _Item(dict[str, Any]):
    """An item with its id, as lists want it."""

    @property
    def id(self) -> str:
        return str(self.get("id", ""))


def _listed(items: list[dict[str, Any]], query: PageQuery) -> Any:
    """As OpenAI lists them, whoever asks: the last one first, 20 at a time."""
    return representations.listing(
        "messages",
        [_Item(item) for item in items],
        query,
        representations.Client.OPENAI,
        show=dict,
    )


ROUTES = [
    Route(
        "POST",
        "/responses",
        create_response,
        operation_id="createResponse",
        tag="Responses",
        summary="Create response",
        description="OpenAI's Responses. The conversation is kept as a thread, and gone on with by "
        "`previous_response_id`; with `store: false` nothing is. Each event of a stream has its "
        "`type` as its name.",
        request=CreateResponse,
        response=ShownResponse,
        event=ResponseEvent,
        # With `store`, which a read-only server refuses by itself, it does.
        keeps_nothing=True,
        names=(*answering.NAMES, "response"),
        errors=(*answering.ERRORS, ReadOnly, *WRITING),
    ),
    Route(
        "GET",
        "/responses/{response_id}",
        get_response,
        operation_id="getResponse",
        tag="Responses",
        summary="Retrieve response",
        description="Its messages say what their lines in the thread say now.",
        query=ResponseQuery,
        response=ShownResponse,
        errors=(*(InvalidId, NotFound, FileUnreadable, ParameterNotSupported, PreconditionFailed),),
    ),
    Route(
        "DELETE",
        "/responses/{response_id}",
        delete_response,
        operation_id="deleteResponse",
        tag="Responses",
        summary="Delete response",
        description="It is not found any more. Its messages stay in their thread.",
        response=DeletedResponse,
        errors=(
            *(InvalidRequest, InvalidId, NotFound, FileUnreadable, PreconditionFailed, *WRITING),
        ),
    ),
    Route(
        "POST",
        "/responses/{response_id}/cancel",
        cancel_response,
        operation_id="cancelResponse",
        tag="Responses",
        summary="Cancel response",
        description="Always a 400: there are no responses in the background.",
        response=ShownResponse,
        keeps_nothing=True,
        errors=(InvalidRequest, InvalidId, NotFound, FileUnreadable),
    ),
    Route(
        "GET",
        "/responses/{response_id}/input_items",
        list_input_items,
        operation_id="listInputItems",
        tag="Responses",
        summary="List input items",
        description="What this response was asked, the last one first, 20 at a time.",
        query=PageQuery,
        response=ResponseItems,
        errors=(InvalidRequest, InvalidId, NotFound, FileUnreadable),
    ),
]
