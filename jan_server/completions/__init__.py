"""One chat completion: model, parameters, prompt; pieces -> chunks, usage, finish reason.

There is one way to make an answer, as chunks; a plain answer is its chunks put together. All that
can be known before anything is computed (unknown model, parameter that cannot be honoured, prompt
too long) is raised before the first chunk. Closing the iterator stops the work. Nothing is written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import UNSET

from jan_server import ids, parameters, templates
from jan_server.completions.fields import KNOWN, refuse_what_cannot_be_honoured
from jan_server.completions.prompts import read_turn, with_system_message
from jan_server.completions.replies import Reply, joined
from jan_server.engines.base import GenerationRequest
from jan_server.engines.pool import Pool
from jan_server.models import Models
from jan_server.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    StreamOptions,
)

log = logging.getLogger(__name__)


# A client that sends ever new names must not make the log or this memory grow.
UNKNOWN_LOGGED_AT_MOST = 100


class Completions:
    """Answers chat requests with the models that are there."""

    def __init__(self, models: Models, pool: Pool) -> None:
        self._models = models
        self._pool = pool
        self._unknown_seen: set[str] = set()

    async def stream(
        self, request: ChatCompletionRequest, sent: Mapping[str, Any]
    ) -> AsyncIterator[ChatCompletionChunk]:
        """The answer as it grows; `sent` is the request's own JSON object.

        The first chunk comes when the prompt is known to fit. The usage is in a last chunk without
        choices, when `stream_options.include_usage` asks for it.
        """
        options = request.stream_options or StreamOptions()
        chunks = self._chunks(request, sent)
        async with aclosing(chunks):
            async for chunk in chunks:
                if options.include_usage:
                    yield chunk
                elif chunk.choices:
                    yield msgspec.structs.replace(chunk, usage=UNSET)

    async def complete(
        self, request: ChatCompletionRequest, sent: Mapping[str, Any]
    ) -> ChatCompletion:
        """The whole answer."""
        chunks = self._chunks(request, sent)
        async with aclosing(chunks):
            return joined([chunk async for chunk in chunks])

    async def _chunks(
        self, request: ChatCompletionRequest, sent: Mapping[str, Any]
    ) -> AsyncGenerator[ChatCompletionChunk]:
        refuse_what_cannot_be_honoured(sent)
        self._log_unknown(sent)
        turns = [read_turn(message, index) for index, message in enumerate(request.messages)]
        if request.model:
            ids.check_lookup_id("model", request.model, param="$.model")
        model = await asyncio.to_thread(self._models.ready, request.model or None)
        turns = with_system_message(turns, model.manifest.settings.system_message)
        chosen = parameters.resolve(sent, [(model.id, model.manifest.parameters)])
        async with self._pool.model(self._models.spec(model)) as loaded:
            prompt = await asyncio.to_thread(
                templates.render,
                turns,
                chat_template=loaded.info.chat_template,
                prompt_template=model.manifest.settings.prompt_template,
                bos_token=loaded.info.bos_token,
                eos_token=loaded.info.eos_token,
                chat_template_kwargs=request.chat_template_kwargs or None,
            )
            asked = GenerationRequest(prompt=prompt, **msgspec.structs.asdict(chosen))
            events = loaded.generate(asked)
            reply = Reply(model.id)
            async with aclosing(events):
                async for event in events:
                    for chunk in reply.take(event):
                        yield chunk

    def _log_unknown(self, sent: Mapping[str, Any]) -> None:
        for name in sent.keys() - KNOWN - self._unknown_seen:
            if len(self._unknown_seen) < UNKNOWN_LOGGED_AT_MOST:
                self._unknown_seen.add(name)
                log.info("chat completions: the parameter %.80r is unknown and ignored", name)
