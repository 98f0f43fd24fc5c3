"""One chat request -> the chunks of its answer.

There is one way to make an answer, as chunks; a plain answer is its chunks put together. All that
can be known before anything is computed (unknown model, parameter that cannot be honoured, prompt
too long) is raised before the first of what a stream gives. Closing it stops the work.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec
from msgspec import UnsetType

from jan_server import parameters
from jan_server.completions import constraining, fields, likelihoods
from jan_server.completions.opening import Opened, Opening, answers
from jan_server.completions.prompts import Prompts, with_system_message
from jan_server.completions.replies import Reply, joined
from jan_server.completions.seeds import seeded
from jan_server.completions.tools import Plan, plan
from jan_server.completions.truncation import chosen_truncation
from jan_server.completions.turns import read_turns
from jan_server.engines.base import GenerationRequest, Queued
from jan_server.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionRequest
from jan_server.types.tokens import TokenCount


class _Ready(NamedTuple):
    """A chat that only needs to be answered."""

    plan: Plan
    request: GenerationRequest
    truncated: int | UnsetType


class Chats:
    """Answers chat requests with the models that are there."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._fields = fields.of_chats()

    async def stream(
        self, request: ChatCompletionRequest, sent: Mapping[str, Any], *, client: str = ""
    ) -> AsyncGenerator[ChatCompletionChunk | Queued]:
        """The answer as it grows; `sent` is the request's own JSON object.

        The first item comes when the prompt is known to fit: Queued, as often as its place
        changes, while others have all slots. The usage is in a last chunk without choices, when
        `stream_options.include_usage` asks for it. `client` names who asks: they take turns.
        """
        options = request.stream_options
        include_usage = bool(options and options.include_usage)
        async with aclosing(self._chunks(request, sent, client, include_usage)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def complete(
        self, request: ChatCompletionRequest, sent: Mapping[str, Any], *, client: str = ""
    ) -> ChatCompletion:
        """The whole answer."""
        async with aclosing(self._chunks(request, sent, client, include_usage=True)) as chunks:
            return joined([chunk async for chunk in chunks if not isinstance(chunk, Queued)])

    async def count_tokens(
        self, request: ChatCompletionRequest, sent: Mapping[str, Any]
    ) -> TokenCount:
        """How long the prompt of this chat is; nothing is left out of it."""
        self._fields.check(sent)
        async with self._opening.open(request.model, keep_alive=request.keep_alive) as opened:
            planned = _plan(request, sent, opened)
            count = await _prompts(request, planned, opened).count(planned.turns)
            return TokenCount(
                input_tokens=count, count=count, max_model_len=opened.lease.info.context_length
            )

    async def _chunks(
        self,
        request: ChatCompletionRequest,
        sent: Mapping[str, Any],
        client: str,
        include_usage: bool,
    ) -> AsyncGenerator[ChatCompletionChunk | Queued]:
        self._fields.check(sent)
        async with self._opening.open(request.model, keep_alive=request.keep_alive) as opened:
            ready = await _get_ready(request, sent, opened)
            requests = seeded(ready.request, request.n or 1)
            reply = Reply(
                opened.model.id,
                choices=len(requests),
                parser=lambda: ready.plan.parser(str(ready.request.prompt)),
                logprobs=ready.request.logprobs is not None,
                include_usage=include_usage,
                truncated=ready.truncated,
            )
            async with aclosing(answers(opened.lease, requests, client=client)) as events:
                async for index, event in events:
                    if isinstance(event, Queued):
                        yield event
                    for chunk in reply.take(index, event):
                        yield chunk


async def _get_ready(
    request: ChatCompletionRequest, sent: Mapping[str, Any], opened: Opened
) -> _Ready:
    chosen = parameters.resolve(sent, [(opened.model.id, opened.model.manifest.parameters)])
    logprobs = likelihoods.asked_of_chat(request)
    planned = _plan(request, sent, opened)
    prompt, truncated = await _prompts(request, planned, opened).shortened(
        planned.turns,
        truncate=_truncates(request, opened),
        max_tokens=parameters.said(sent, "max_tokens"),
    )
    guidance = planned.guidance(prompt)
    values = {**msgspec.structs.asdict(chosen), "logprobs": logprobs}
    asked = GenerationRequest(
        prompt=prompt, constraint=guidance.constraint, visible=guidance.visible, **values
    )
    return _Ready(planned, asked, truncated)


def _plan(request: ChatCompletionRequest, sent: Mapping[str, Any], opened: Opened) -> Plan:
    info, settings = opened.lease.info, opened.model.manifest.settings
    turns = with_system_message(read_turns(request.messages), settings.system_message)
    asked = constraining.read_constraint(request, sent)
    constraining.check_engine(asked, constrains=info.constrains)
    return plan(
        request,
        turns,
        chat_template=info.chat_template,
        constrains=info.constrains,
        constraint=asked.constraint if asked else None,
    )


def _prompts(request: ChatCompletionRequest, planned: Plan, opened: Opened) -> Prompts:
    """Templates that know no reasoning effort pass over it."""
    effort = {"reasoning_effort": request.reasoning_effort} if request.reasoning_effort else {}
    variables = {**effort, **(request.chat_template_kwargs or {}), **planned.template_variables}
    return Prompts(opened, variables)


def _truncates(request: ChatCompletionRequest, opened: Opened) -> bool:
    said = (request.truncation, opened.model.manifest.settings.truncation)
    return chosen_truncation(*said) == "auto"
