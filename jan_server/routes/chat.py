"""Chat completions."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from jan_server.errors import (
    ContextLengthExceeded,
    EngineDied,
    InvalidRequest,
    ModelCannotRun,
    ModelLoading,
    ModelNotDownloaded,
    NotFound,
    ParameterNotSupported,
    ShuttingDown,
)
from jan_server.services import Services
from jan_server.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionRequest
from jan_server.web.requests import read_json
from jan_server.web.responses import json_response, while_connected
from jan_server.web.routing import Route
from jan_server.web.sse import EventStream


async def create_chat_completion(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, ChatCompletionRequest)
    if asked.stream:
        return EventStream(services.completions.stream(asked, sent))
    answer = await while_connected(request, services.completions.complete(asked, sent))
    return json_response(answer)


ROUTES = [
    Route(
        "POST",
        "/chat/completions",
        create_chat_completion,
        operation_id="createChatCompletion",
        tag="Chat",
        summary="Create chat completion",
        description="Creates a model response for the given chat conversation, as OpenAI's does.",
        request=ChatCompletionRequest,
        response=ChatCompletion,
        event=ChatCompletionChunk,
        keeps_nothing=True,
        names=("model",),
        errors=(
            InvalidRequest,
            ParameterNotSupported,
            ContextLengthExceeded,
            NotFound,
            ModelNotDownloaded,
            ModelCannotRun,
            ModelLoading,
            EngineDied,
            ShuttingDown,
        ),
    )
]
