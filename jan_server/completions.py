"""One chat completion: model, parameters, prompt; pieces -> chunks, usage, finish reason.

There is one way to make an answer, as chunks; a plain answer is its chunks put together. All that
can be known before anything is computed (unknown model, parameter that cannot be honoured, prompt
too long) is raised before the first chunk. Closing the iterator stops the work. Nothing is written.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import UNSET
from ulid import ULID

from jan_server import ids, parameters, templates
from jan_server.engines.base import (
    Event,
    Finished,
    GenerationRequest,
    Piece,
    Progress,
    Started,
)
from jan_server.engines.pool import Pool
from jan_server.errors import InvalidRequest, ParameterNotSupported
from jan_server.models import Models
from jan_server.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    ChatMessage,
    Choice,
    ChunkChoice,
    Delta,
    FinishReason,
    PromptTokensDetails,
    ReplyMessage,
    StreamOptions,
    Usage,
)
from jan_server.types.message import SentPart, part_text, wrong_part

log = logging.getLogger(__name__)

# Parameters that clients know and this server cannot honour, with the values that ask for nothing.
# Null asks for nothing everywhere.
REFUSED: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "grammar": ("",),
    "json_schema": (),
    "logit_bias": ({}, []),
    "logprobs": (False, 0),
    "mirostat": (0,),
    "modalities": (["text"],),
    "n": (1,),
    "prediction": (),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "typical_p": (1, 1.0),
    "verbosity": ("medium",),
    "web_search_options": (),
}

# Accepted because clients send them by habit and an answer is right without them.
WITHOUT_EFFECT = {
    "engine",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
}

KNOWN = {
    *ChatCompletionRequest.__struct_fields__,
    *(name for row in parameters.ROWS for name in row.names),
    *REFUSED,
    *WITHOUT_EFFECT,
}

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
            return _joined([chunk async for chunk in chunks])

    async def _chunks(
        self, request: ChatCompletionRequest, sent: Mapping[str, Any]
    ) -> AsyncGenerator[ChatCompletionChunk]:
        refuse_what_cannot_be_honoured(sent)
        self._log_unknown(sent)
        turns = [_turn(message, index) for index, message in enumerate(request.messages)]
        if request.model:
            ids.check_lookup_id("model", request.model, param="$.model")
        model = await asyncio.to_thread(self._models.ready, request.model or None)
        turns = _with_system_message(turns, model.manifest.settings.system_message)
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
            reply = _Reply(model.id)
            async with aclosing(events):
                async for event in events:
                    for chunk in reply.take(event):
                        yield chunk

    def _log_unknown(self, sent: Mapping[str, Any]) -> None:
        for name in sent.keys() - KNOWN - self._unknown_seen:
            if len(self._unknown_seen) < UNKNOWN_LOGGED_AT_MOST:
                self._unknown_seen.add(name)
                log.info("chat completions: the parameter %.80r is unknown and ignored", name)


def refuse_what_cannot_be_honoured(sent: Mapping[str, Any]) -> None:
    """Raises ParameterNotSupported for the first such parameter."""
    for name, harmless in REFUSED.items():
        value = sent.get(name)
        if value is not None and value not in harmless:
            raise ParameterNotSupported(
                f"This server cannot honour {name!r} here yet: leave it out.", param=f"$.{name}"
            )


def _turn(message: ChatMessage, index: int) -> dict[str, str]:
    """What a chat template sees of a message. OpenAI's `developer` is the system of old."""
    path = f"$.messages[{index}]"
    for name in ("tool_calls", "function_call"):
        if getattr(message, name):
            raise ParameterNotSupported(
                f"This server cannot honour {path}.{name} here yet: leave it out.",
                param=f"{path}.{name}",
            )
    if message.content is UNSET or (message.content is None and message.role != "assistant"):
        raise InvalidRequest(f"{path}.content: it is missing.", param=f"{path}.content")
    role = "system" if message.role == "developer" else message.role
    turn = {"role": role, "content": _text(message.content, f"{path}.content")}
    return turn if message.name is UNSET else {**turn, "name": message.name}


def _with_system_message(turns: list[dict[str, str]], said: str | None) -> list[dict[str, str]]:
    """The manifest's system message goes first where the conversation has none of its own."""
    if not said or any(turn["role"] == "system" for turn in turns):
        return turns
    return [{"role": "system", "content": said}, *turns]


def _text(content: str | list[SentPart] | None, path: str) -> str:
    if not isinstance(content, list):
        return content or ""
    if (wrong := wrong_part(content)) is not None:
        raise ParameterNotSupported(
            f"This model reads text only, and {path}{wrong} is not a text part.",
            param=f"{path}{wrong}",
        )
    return "".join(part_text(part) for part in content)


class _Reply:
    """What all chunks of one answer share, and what has been counted so far."""

    def __init__(self, model: str) -> None:
        self._id = f"chatcmpl-{ULID()}"
        self._model = model
        self._created = int(time.time())
        self._started = Started(prompt_tokens=0)

    def take(self, event: Event) -> list[ChatCompletionChunk]:
        """The chunks that an engine's event makes."""
        match event:
            case Started():
                self._started = event
                return [self._chunk(Delta(role="assistant", content=""))]
            case Piece():
                return [self._chunk(Delta(content=event.text))]
            case Finished():
                return [self._chunk(Delta(), event.reason), self._last(event)]
            case Progress():
                return []

    def _chunk(self, delta: Delta, reason: FinishReason | None = None) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[ChunkChoice(delta=delta, finish_reason=reason)],
            usage=None,
        )

    def _last(self, finished: Finished) -> ChatCompletionChunk:
        prompt, answer = self._started.prompt_tokens, finished.completion_tokens
        usage = Usage(
            prompt_tokens=prompt,
            completion_tokens=answer,
            total_tokens=prompt + answer,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self._started.cached_tokens),
        )
        return msgspec.structs.replace(self._chunk(Delta()), choices=[], usage=usage)


def _joined(chunks: list[ChatCompletionChunk]) -> ChatCompletion:
    *_, finish, last = chunks
    reason = finish.choices[0].finish_reason
    assert reason, "an engine's last event is Finished"
    assert last.usage, "and makes the usage"
    text = "".join(c.choices[0].delta.content or "" for c in chunks[:-1])
    return ChatCompletion(
        id=last.id,
        created=last.created,
        model=last.model,
        choices=[
            Choice(
                index=0,
                message=ReplyMessage(content=text),
                finish_reason=reason,
            )
        ],
        usage=last.usage,
    )
