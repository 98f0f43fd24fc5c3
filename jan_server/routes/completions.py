"""Completions of plain text."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from jan_server.routes import answering
from jan_server.routes.callers import caller
from jan_server.services import Services
from jan_server.types.completion import Completion, CompletionRequest
from jan_server.web.requests import read_json
from jan_server.web.responses import json_response, while_connected
from jan_server.web.routing import Route


async def create_completion(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, CompletionRequest)
    texts, client = services.completions.texts, caller(request, sent)
    if asked.stream:
        return answering.event_stream(texts.stream(asked, sent, client=client))
    answer = await while_connected(request, texts.complete(asked, sent, client=client))
    return json_response(answer)


ROUTES = [
    Route(
        "POST",
        "/completions",
        create_completion,
        operation_id="createCompletion",
        tag="Chat",
        summary="Create completion",
        description="Goes on with a text, as OpenAI's older API does: no template is applied.",
        request=CompletionRequest,
        response=Completion,
        event=Completion,
        keeps_nothing=True,
        names=answering.NAMES,
        errors=answering.ERRORS,
    )
]
