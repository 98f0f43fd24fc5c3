"""Anthropic's Messages API. Nothing is kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response

from jan_server.dialects import chat
from jan_server.dialects.anthropic.answer import Answer, error_body
from jan_server.dialects.anthropic.request import chat_request, prompt_request, shows_thinking
from jan_server.engines.base import Queued
from jan_server.routes import answering
from jan_server.routes.callers import caller
from jan_server.services import Services
from jan_server.types.anthropic import (
    AnthropicError,
    AnthropicMessage,
    CountMessageTokens,
    MessageEvent,
    MessagesRequest,
    MessageTokens,
)
from jan_server.web.errors import ErrorForm
from jan_server.web.requests import read_json
from jan_server.web.responses import json_response, while_connected
from jan_server.web.routing import Route
from jan_server.web.sse import TypedEvents

FORM = ErrorForm(AnthropicError, error_body)


async def create_anthropic_message(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, MessagesRequest)
    translated = chat_request(asked, sent)
    client = caller(request, translated.sent)
    parts = chat.parts(services.completions.chats, translated, client=client)
    answer = Answer(shows_thinking=shows_thinking(asked))
    if asked.stream is True:
        return answering.event_stream(_events(answer, parts), framing=TypedEvents(FORM))
    return json_response(await while_connected(request, _whole(answer, parts)))


async def count_anthropic_tokens(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, CountMessageTokens)
    translated = prompt_request(asked, sent)
    work = services.completions.chats.count_tokens(translated.request, translated.sent)
    with chat.naming(translated.names):
        counted = await while_connected(request, work)
    return json_response(MessageTokens(input_tokens=counted.input_tokens))


async def _events(
    answer: Answer, parts: AsyncGenerator[chat.Part]
) -> AsyncGenerator[MessageEvent | Queued]:
    async with aclosing(parts):
        async for part in parts:
            if isinstance(part, Queued):
                yield part
            for event in answer.take(part):
                yield event


async def _whole(answer: Answer, parts: AsyncGenerator[chat.Part]) -> AnthropicMessage:
    async with aclosing(_events(answer, parts)) as events:
        async for _ in events:
            pass
    return answer.message


ROUTES = [
    Route(
        "POST",
        "/messages",
        create_anthropic_message,
        operation_id="createAnthropicMessage",
        tag="Chat",
        summary="Create a message, as Anthropic's API",
        description="Anthropic's Messages. Nothing is kept. Each event of a stream has its `type` "
        "as its name.",
        request=MessagesRequest,
        response=AnthropicMessage,
        event=MessageEvent,
        keeps_nothing=True,
        names=answering.NAMES,
        errors=answering.ERRORS,
        error_form=FORM,
    ),
    Route(
        "POST",
        "/messages/count_tokens",
        count_anthropic_tokens,
        operation_id="countAnthropicTokens",
        tag="Chat",
        summary="Count the tokens of a message, as Anthropic's API",
        request=CountMessageTokens,
        response=MessageTokens,
        keeps_nothing=True,
        names=answering.NAMES,
        errors=answering.ERRORS,
        error_form=FORM,
    ),
]
