"""One chat request -> the chunks of its answer.

There is one way to make an answer, as chunks; a plain answer is its chunks put together. All that
can be known before anything is computed (unknown model, parameter that cannot be honoured, prompt
too long) is raised before the first of what a stream gives. Closing it stops the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from jan_server import parameters
from jan_server.completions import constraining, fields, likelihoods
from jan_server.completions.constraining import Asked
from jan_server.completions.opening import Opened, Opening, answers, places
from jan_server.completions.prompts import Prompts, with_system_message
from jan_server.completions.replies import Reply, joined
from jan_server.completions.seeds import seeded
from jan_server.completions.tools import choice
from jan_server.completions.tools.plan import Plan, plan
from jan_server.completions.truncation import Turns, chosen_truncation
from jan_server.completions.turns import Turn, read_turns
from jan_server.completions.usage import UsageTold, usage_told
from jan_server.engines.base import GenerationRequest, Queued
from jan_server.errors import PromptLimitExceeded
from jan_server.models import KnownModel
from jan_server.remote import CHAT, RemoteAnswer, Remotes
from jan_server.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionRequest
from jan_server.types.tokens import TokenCount


class _Asked(NamedTuple):
    """What a request says, before its model is loaded. `values` are GenerationRequest's."""

    request: ChatCompletionRequest
    turns: list[Turn]
    constraint: Asked | None
    values: dict[str, Any]
    max_tokens: int | None
    prompt_limit: int | None = None


class _Ready(NamedTuple):
    """A chat that only needs to be answered."""

    plan: Plan
    request: GenerationRequest
    truncated: int | UnsetType


class Chats:
    """Answers chat requests with the models that are there."""

    def __init__(self, opening: Opening, remotes: Remotes) -> None:
        self._opening = opening
        self._remotes = remotes
        self._fields = fields.of_chats()

    async def check(self, request: ChatCompletionRequest, sent: Mapping[str, Any]) -> str:
        """The id of the model that would answer; nothing is loaded.

        Raises what can be known of the request without that, as `stream` would.
        """
        return await asyncio.to_thread(self.check_here, request, sent)

    def check_here(self, request: ChatCompletionRequest, sent: Mapping[str, Any]) -> str:
        """As `check`, for those who are in a worker already."""
        model = self._opening.look_for(request.model)
        choice.read(request)
        if not model.remote:
            self._read(model, request, sent)
        return model.id

    async def stream(
        self,
        request: ChatCompletionRequest,
        sent: Mapping[str, Any],
        *,
        client: str = "",
        prompt_limit: int | None = None,
    ) -> AsyncGenerator[ChatCompletionChunk | Queued | RemoteAnswer]:
        """The answer as it grows; `sent` is the request's own JSON object.

        The first item comes when the prompt is known to fit: Queued, as often as its place
        changes, while others have all slots. The usage is in a last chunk without choices, when
        `stream_options.include_usage` asks for it. `client` names who asks: they take turns.
        `prompt_limit`: a local model's prompt of more tokens is shortened where `truncation` is
        `auto`, and raises PromptLimitExceeded where that is not enough or not allowed.
        """
        model = await self._opening.find(request.model)
        chunks = (
            self._remotes.stream(model.remote, CHAT, sent)
            if model.remote
            else self._chunks(
                model, request, sent, client, usage_told(request.stream_options), prompt_limit
            )
        )
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    async def complete(
        self, request: ChatCompletionRequest, sent: Mapping[str, Any], *, client: str = ""
    ) -> ChatCompletion | RemoteAnswer:
        """The whole answer."""
        model = await self._opening.find(request.model)
        if model.remote:
            return await self._remotes.ask(model.remote, CHAT, sent)
        chunks = self._chunks(model, request, sent, client, "last")
        async with aclosing(chunks):
            return joined([chunk async for chunk in chunks if not isinstance(chunk, Queued)])

    async def count_tokens(
        self, request: ChatCompletionRequest, sent: Mapping[str, Any]
    ) -> TokenCount:
        """How long the prompt of this chat is; nothing is left out of it."""
        model = await self._opening.find(request.model)
        asked = self._read(model, request, sent)
        async with self._opening.load(model, keep_alive=request.keep_alive) as opened:
            count = await _prompts(asked, opened).count(asked.turns)
            return TokenCount(
                input_tokens=count, count=count, max_model_len=opened.lease.info.context_length
            )

    def _read(
        self, model: KnownModel, request: ChatCompletionRequest, sent: Mapping[str, Any]
    ) -> _Asked:
        self._fields.check(sent)
        turns = read_turns(request.messages)
        constraint = constraining.read_constraint(request, sent)
        logprobs = likelihoods.asked_of_chat(request)
        chosen = parameters.resolve(sent, [(model.id, model.manifest.parameters)])
        return _Asked(
            request,
            with_system_message(turns, model.manifest.settings.system_message),
            constraint,
            values={**msgspec.structs.asdict(chosen), "logprobs": logprobs},
            max_tokens=parameters.said(sent, "max_tokens"),
        )

    async def _chunks(
        self,
        model: KnownModel,
        request: ChatCompletionRequest,
        sent: Mapping[str, Any],
        client: str,
        usage: UsageTold,
        prompt_limit: int | None = None,
    ) -> AsyncGenerator[ChatCompletionChunk | Queued]:
        asked = self._read(model, request, sent)._replace(prompt_limit=prompt_limit)
        async with self._opening.load(model, keep_alive=request.keep_alive) as opened:
            ready = await _get_ready(asked, opened)
            requests = seeded(ready.request, request.n or 1)
            reply = _reply(ready, model.id, choices=len(requests), usage=usage)
            named = places(prompt="$.messages", constraint=_form(asked))
            events = answers(opened.lease, requests, client=client, places=named)
            async with aclosing(events):
                async for index, event in events:
                    if isinstance(event, Queued):
                        yield event
                    for chunk in reply.take(index, event):
                        yield chunk


def _reply(ready: _Ready, model: str, *, choices: int, usage: UsageTold) -> Reply:
    return Reply(
        model,
        choices=choices,
        parser=lambda: ready.plan.parser(str(ready.request.prompt)),
        logprobs=ready.request.logprobs is not None,
        usage=usage,
        truncated=ready.truncated,
    )


def _form(asked: _Asked) -> str:
    """The field that the answer's form comes from: where none says it, the tools have one."""
    return asked.constraint.place if asked.constraint else "$.tools"


async def _get_ready(asked: _Asked, opened: Opened) -> _Ready:
    prompts, turns = _prompts(asked, opened), asked.turns
    truncated: int | UnsetType = UNSET
    if _truncates(asked, opened):
        turns = await prompts.shortened(
            asked.turns, max_tokens=asked.max_tokens, most=asked.prompt_limit
        )
        truncated = len(asked.turns) - len(turns)
    if asked.prompt_limit is not None and await prompts.count(turns) > asked.prompt_limit:
        raise PromptLimitExceeded(asked.prompt_limit)
    prompt, planned = await prompts.render(turns), _plan(turns, asked, opened)
    guidance = planned.guidance(prompt)
    request = GenerationRequest(
        prompt=prompt, constraint=guidance.constraint, visible=guidance.visible, **asked.values
    )
    return _Ready(planned, request, truncated)


def _plan(turns: Turns, asked: _Asked, opened: Opened) -> Plan:
    info = opened.lease.info
    constraining.check_engine(asked.constraint, constrains=info.constrains)
    return plan(
        asked.request,
        turns,
        chat_template=info.chat_template,
        constrains=info.constrains,
        constraint=asked.constraint.constraint if asked.constraint else None,
    )


def _prompts(asked: _Asked, opened: Opened) -> Prompts:
    """Templates that know no reasoning effort pass over it."""
    request = asked.request
    effort = {"reasoning_effort": request.reasoning_effort} if request.reasoning_effort else {}
    variables = {**effort, **(request.chat_template_kwargs or {})}
    return Prompts(opened, lambda turns: _plan(turns, asked, opened), variables)


def _truncates(asked: _Asked, opened: Opened) -> bool:
    said = (asked.request.truncation, opened.model.manifest.settings.truncation)
    return chosen_truncation(*said) == "auto"
