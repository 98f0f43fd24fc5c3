"""Ollama's API, at the root as its clients have it. Nothing is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from jan_server.dialects import chat
from jan_server.dialects.chat import Translated
from jan_server.dialects.ollama import models
from jan_server.dialects.ollama.answer import (
    Answer,
    Making,
    chat_line,
    done_line,
    error_body,
    generate_line,
)
from jan_server.dialects.ollama.request import (
    EMBEDS,
    EMBEDS_PROMPT,
    chat_request,
    check_to_load,
    context_asked,
    generate_request,
    model_name,
)
from jan_server.errors import (
    NAMING_A_MODEL,
    DataFolderMissing,
    InvalidRequest,
    JanError,
    ParameterNotSupported,
)
from jan_server.remote import RemoteAnswer
from jan_server.routes import answering
from jan_server.routes.callers import caller
from jan_server.services import Services
from jan_server.types.embedding import EmbeddingList, EmbeddingsRequest
from jan_server.types.ollama import (
    ChatLine,
    Embedded,
    EmbeddedPrompt,
    EmbedPromptRequest,
    EmbedRequest,
    GenerateLine,
    GenerateRequest,
    Line,
    LoadedTag,
    LoadedTags,
    OllamaChatRequest,
    OllamaError,
    OllamaRequest,
    OllamaVersion,
    Shown,
    ShowRequest,
    Tags,
)
from jan_server.web.errors import ErrorForm
from jan_server.web.ndjson import MEDIA_TYPE, Lines
from jan_server.web.requests import read_json
from jan_server.web.responses import json_response, while_connected
from jan_server.web.routing import Route
from jan_server.web.sse import EventStream

FORM = ErrorForm(OllamaError, error_body)


async def ollama_chat(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, OllamaChatRequest)
    if not asked.messages:
        return await _load(services, request, asked, sent, make=chat_line)
    return await _answer(services, request, asked, chat_request(asked, sent), make=chat_line)


async def ollama_generate(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, GenerateRequest)
    if not asked.prompt:
        return await _load(services, request, asked, sent, make=generate_line)
    translated = generate_request(asked, sent)
    return await _answer(services, request, asked, translated, make=generate_line)


async def _answer(
    services: Services,
    request: Request,
    asked: OllamaRequest,
    translated: Translated,
    *,
    make: Making,
) -> Response:
    await while_connected(request, _check_context(services, asked))
    completions, client = services.completions, caller(request, translated.sent)
    source = completions.texts if "prompt" in translated.sent else completions.chats
    parts = chat.parts(source, translated, client=client)
    streams = asked.stream is not False
    answer = Answer(make, asked.model, whole=not streams, thinks=asked.think is not False)
    lines = _lines(answer, parts)
    if streams:
        return EventStream(lines, framing=Lines(FORM))
    return json_response(await while_connected(request, _last(lines)))


async def _lines(answer: Answer, parts: AsyncGenerator[chat.Part]) -> AsyncGenerator[Line]:
    async with aclosing(parts):
        async for part in parts:
            for line in answer.take(part):
                yield line


async def _last(lines: AsyncGenerator[Line]) -> Line:
    async with aclosing(lines):
        return [line async for line in lines][-1]


async def _check_context(services: Services, asked: OllamaRequest) -> None:
    """A context is made when a model is loaded: no request can have a larger one."""
    if (wanted := context_asked(asked)) is None:
        return
    info = await services.completions.load(model_name(asked.model))
    if info is not None and wanted > info.context_length:
        raise ParameterNotSupported(
            f"$.options.num_ctx: the model's context holds {info.context_length} tokens: ask for "
            "no more, or raise ctx_len in its model.json.",
            param="$.options.num_ctx",
        )


async def _load(
    services: Services,
    request: Request,
    asked: OllamaRequest,
    sent: Mapping[str, Any],
    *,
    make: Making,
) -> Response:
    """What is asked nothing is loaded, or unloaded when nobody uses it."""
    check_to_load(asked, sent)
    id, keep_alive = model_name(asked.model), asked.keep_alive
    unloads = keep_alive in (0, "0")
    if not unloads or id in services.pool.running():
        work = services.completions.load(id, keep_alive=keep_alive)
        await while_connected(request, work)
    return json_response(done_line(make, asked.model, "unload" if unloads else "load"))


async def ollama_embed(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, EmbedRequest)
    EMBEDS.check(sent)
    began = time.monotonic()
    found = await _embedded(
        services,
        request,
        EmbeddingsRequest(
            input=asked.input,
            model=model_name(asked.model),
            dimensions=asked.dimensions,
            keep_alive=asked.keep_alive,
        ),
    )
    return json_response(
        Embedded(
            model=asked.model,
            embeddings=[item["embedding"] for item in found["data"]],
            total_duration=int((time.monotonic() - began) * 1e9),
            prompt_eval_count=(found.get("usage") or {}).get("prompt_tokens") or 0,
        )
    )


async def ollama_embed_prompt(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, EmbedPromptRequest)
    EMBEDS_PROMPT.check(sent)
    wanted = EmbeddingsRequest(
        input=asked.prompt, model=model_name(asked.model), keep_alive=asked.keep_alive
    )
    with chat.naming({"$.input": "$.prompt"}):
        found = await _embedded(services, request, wanted)
    return json_response(EmbeddedPrompt(embedding=found["data"][0]["embedding"]))


async def _embedded(
    services: Services, request: Request, wanted: EmbeddingsRequest
) -> RemoteAnswer:
    """OpenAI's answer, whoever gives it, as JSON values."""
    sent = msgspec.to_builtins(wanted)
    client = caller(request, sent)
    work = services.completions.embeddings.embed(wanted, sent, client=client)
    found = await while_connected(request, work)
    return msgspec.to_builtins(found) if isinstance(found, EmbeddingList) else found


async def list_tags(services: Services, _request: Request) -> Response:
    return json_response(await asyncio.to_thread(_tags, services))


def _tags(services: Services) -> Tags:
    return Tags(models=[models.tag(model) for model in services.models.list()])


async def list_loaded_tags(services: Services, _request: Request) -> Response:
    return json_response(LoadedTags(models=await asyncio.to_thread(_loaded_tags, services)))


def _loaded_tags(services: Services) -> list[LoadedTag]:
    found = []
    for seen in services.pool.seen():
        with suppress(JanError):  # Its manifest went while it is in memory.
            found.append(models.loaded_tag(seen, services.models.get(seen.id)))
    return found


async def show_tag(services: Services, request: Request) -> Response:
    asked, _ = await read_json(request, ShowRequest)
    name = asked.model or asked.name
    if not name:
        raise InvalidRequest("$.model: it is missing.", param="$.model")
    model = await asyncio.to_thread(services.models.get, model_name(name))
    return json_response(await asyncio.to_thread(models.shown, model))


async def get_ollama_version(_services: Services, _request: Request) -> Response:
    return json_response(OllamaVersion())


_route = partial(Route[Services], at_root=True, tag="Ollama", keeps_nothing=True, error_form=FORM)
_asks = partial(_route, names=answering.NAMES, errors=answering.ERRORS, streams=MEDIA_TYPE)

ROUTES = [
    _asks(
        "POST",
        "/api/chat",
        ollama_chat,
        operation_id="ollamaChat",
        summary="Chat, as Ollama's API",
        request=OllamaChatRequest,
        response=ChatLine,
        event=ChatLine,
    ),
    _asks(
        "POST",
        "/api/generate",
        ollama_generate,
        operation_id="ollamaGenerate",
        summary="Answer a prompt, as Ollama's API",
        request=GenerateRequest,
        response=GenerateLine,
        event=GenerateLine,
    ),
    _asks(
        "POST",
        "/api/embed",
        ollama_embed,
        operation_id="ollamaEmbed",
        summary="Embed texts, as Ollama's API",
        request=EmbedRequest,
        response=Embedded,
    ),
    _asks(
        "POST",
        "/api/embeddings",
        ollama_embed_prompt,
        operation_id="ollamaEmbeddings",
        summary="Embed a text, as Ollama's older API",
        request=EmbedPromptRequest,
        response=EmbeddedPrompt,
    ),
    _route(
        "GET",
        "/api/tags",
        list_tags,
        operation_id="ollamaTags",
        summary="List models, as Ollama's API",
        response=Tags,
        errors=(DataFolderMissing,),
    ),
    _route(
        "GET",
        "/api/ps",
        list_loaded_tags,
        operation_id="ollamaPs",
        summary="List the models in memory, as Ollama's API",
        response=LoadedTags,
    ),
    _route(
        "POST",
        "/api/show",
        show_tag,
        operation_id="ollamaShow",
        summary="Show a model, as Ollama's API",
        request=ShowRequest,
        response=Shown,
        names=("model",),
        errors=(InvalidRequest, *NAMING_A_MODEL),
    ),
    _route(
        "GET",
        "/api/version",
        get_ollama_version,
        operation_id="ollamaVersion",
        summary="Which Ollama's API this is",
        response=OllamaVersion,
    ),
]
