"""Chat completions, and how long their prompts are."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from jan_server.routes import answering
from jan_server.routes.callers import caller
from jan_server.services import Services
from jan_server.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionRequest
from jan_server.types.tokens import TokenCount
from jan_server.web.requests import read_json
from jan_server.web.responses import json_response, while_connected
from jan_server.web.routing import Route


async def create_chat_completion(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, ChatCompletionRequest)
    chats, client = services.completions.chats, caller(request, sent)
    if asked.stream:
        return answering.event_stream(chats.stream(asked, sent, client=client))
    answer = await while_connected(request, chats.complete(asked, sent, client=client))
    return json_response(answer)


async def count_chat_tokens(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, ChatCompletionRequest)
    work = services.completions.chats.count_tokens(asked, sent)
    return json_response(await while_connected(request, work))


ROUTES = [
    Route(
        "POST",
        "/chat/completions",
        create_chat_completion,
        operation_id="createChatCompletion",
        tag="Chat",
        summary="Create chat completion",
        description="Creates a model response for the given chat conversation, as OpenAI's does. "
        "While a stream waits for its turn, SSE comments say how many are before it.",
        request=ChatCompletionRequest,
        response=ChatCompletion,
        event=ChatCompletionChunk,
        keeps_nothing=True,
        names=answering.NAMES,
        errors=answering.ERRORS,
    ),
    Route(
        "POST",
        "/chat/count_tokens",
        count_chat_tokens,
        operation_id="countChatTokens",
        tag="Chat",
        summary="Count the tokens of a chat",
        description="How long the prompt of a chat completion is: template, tools and all. "
        "Nothing is answered, and nothing left out by `truncation`.",
        request=ChatCompletionRequest,
        response=TokenCount,
        keeps_nothing=True,
        names=answering.NAMES,
        errors=answering.ERRORS,
    ),
]
