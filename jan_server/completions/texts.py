"""One request for completions of plain text -> the pieces of its answer.

As with chats there is one way to make an answer, in pieces, and a plain one is put together of
them. Each prompt is gone on with `n` times, one after the other.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import UNSET
from ulid import ULID

from jan_server import parameters
from jan_server.completions import constraining, fields
from jan_server.completions.inputs import Input, read_inputs
from jan_server.completions.likelihoods import TextOffsets, text_logprobs
from jan_server.completions.opening import Opened, Opening, answers, places
from jan_server.completions.seeds import seeded
from jan_server.completions.usage import Tally, UsageTold, usage_told
from jan_server.engines.base import Event, Finished, GenerationRequest, Piece, Queued, Started
from jan_server.engines.lease import Lease
from jan_server.errors import ContextLengthExceeded, InvalidRequest, ParameterNotSupported
from jan_server.models import KnownModel
from jan_server.remote import TEXTS, RemoteAnswer, Remotes
from jan_server.types.completion import (
    Completion,
    CompletionRequest,
    TextChoice,
    TextLogProbs,
)


class Texts:
    """Goes on with texts, by the models that are there."""

    def __init__(self, opening: Opening, remotes: Remotes) -> None:
        self._opening = opening
        self._remotes = remotes
        self._fields = fields.of_texts()

    async def stream(
        self, request: CompletionRequest, sent: Mapping[str, Any], *, client: str = ""
    ) -> AsyncGenerator[Completion | Queued | RemoteAnswer]:
        """See Chats.stream."""
        model = await self._opening.find(request.model)
        pieces = (
            self._remotes.stream(model.remote, TEXTS, sent)
            if model.remote
            else self._pieces(model, request, sent, client, usage_told(request.stream_options))
        )
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def complete(
        self, request: CompletionRequest, sent: Mapping[str, Any], *, client: str = ""
    ) -> Completion | RemoteAnswer:
        """The whole answer."""
        model = await self._opening.find(request.model)
        if model.remote:
            return await self._remotes.ask(model.remote, TEXTS, sent)
        pieces = self._pieces(model, request, sent, client, "last")
        async with aclosing(pieces):
            return joined([piece async for piece in pieces if not isinstance(piece, Queued)])

    async def _pieces(
        self,
        model: KnownModel,
        request: CompletionRequest,
        sent: Mapping[str, Any],
        client: str,
        usage: UsageTold,
    ) -> AsyncGenerator[Completion | Queued]:
        self._fields.check(sent)
        _check(request)
        prompts = read_inputs(request.prompt, "$.prompt")
        constraint = constraining.read_constraint(request, sent)
        values = _values(request, sent, model)
        async with self._opening.load(model, keep_alive=request.keep_alive) as opened:
            constraining.check_engine(constraint, constrains=opened.lease.info.constrains)
            await _check_later_prompts(prompts, opened)
            n = request.n or 1
            bound = constraint.constraint if constraint else None
            requests = [
                one
                for prompt in prompts
                for one in seeded(GenerationRequest(prompt=prompt, constraint=bound, **values), n)
            ]
            echoes = await _echoes(prompts, opened) if request.echo else [""] * len(prompts)
            reply = TextReply(opened.model.id, echoes, n=n, usage=usage)
            named = places(prompt="$.prompt", constraint=constraint and constraint.place)
            events = answers(opened.lease, requests, client=client, places=named)
            async with aclosing(events):
                async for index, event in events:
                    if isinstance(event, Queued):
                        yield event
                    for piece in reply.take(index, event):
                        yield piece


def _check(request: CompletionRequest) -> None:
    if request.best_of and request.best_of != (request.n or 1):
        raise ParameterNotSupported(
            "$.best_of: all answers are told here: it can only be as n.", param="$.best_of"
        )
    if request.echo and isinstance(request.logprobs, int):
        raise ParameterNotSupported(
            "$.echo: the likelihoods of the prompt's own tokens are not known: "
            "leave out logprobs or echo.",
            param="$.echo",
        )


def _values(
    request: CompletionRequest, sent: Mapping[str, Any], model: KnownModel
) -> dict[str, Any]:
    """GenerationRequest's."""
    chosen = parameters.resolve(sent, [(model.id, model.manifest.parameters)])
    logprobs = None if request.logprobs is UNSET else request.logprobs
    return {**msgspec.structs.asdict(chosen), "logprobs": logprobs}


async def _check_later_prompts(prompts: Sequence[Input], opened: Opened) -> None:
    """What is wrong with the first is found before anything is answered, by the engine."""
    context_length = opened.lease.info.context_length
    for index, prompt in enumerate(prompts[1:], start=1):
        try:
            count = await _count(prompt, opened.lease)
            if count >= context_length:
                raise ContextLengthExceeded(count, context_length)
        except InvalidRequest as error:
            error.param = f"$.prompt[{index}]"
            raise


async def _count(prompt: Input, lease: Lease) -> int:
    """How many tokens it has. Raises InvalidRequest for ids that are none."""
    if isinstance(prompt, str):
        return len(await lease.tokenize(prompt))
    await lease.detokenize(list(prompt))
    return len(prompt)


async def _echoes(prompts: Sequence[Input], opened: Opened) -> list[str]:
    return [
        prompt if isinstance(prompt, str) else await opened.lease.detokenize(list(prompt))
        for prompt in prompts
    ]


class TextReply:
    """Makes the pieces of one answer; `echoes` are what goes before, for each prompt."""

    def __init__(self, model: str, echoes: Sequence[str], *, n: int, usage: UsageTold) -> None:
        self._model = model
        self._id = f"cmpl-{ULID()}"
        self._created = int(time.time())
        self._echoes = echoes
        self._n = n
        self._usage = usage
        self._offsets = TextOffsets(0)
        self._tally = Tally()

    def take(self, index: int, event: Event) -> Iterator[Completion]:
        """The pieces that an event of that choice makes."""
        self._tally.take(event, again=index % self._n > 0)
        match event:
            case Started():
                self._offsets = TextOffsets(0)
                if echo := self._echoes[index // self._n]:
                    yield self._piece(TextChoice(index=index, text=echo))
            case Piece():
                told = text_logprobs(event.choices, self._offsets) if event.choices else None
                yield self._piece(TextChoice(index=index, text=event.text, logprobs=told))
            case Finished():
                met = UNSET if event.stop_string is None else event.stop_string
                yield from self._ending(
                    TextChoice(index=index, text="", finish_reason=event.reason, stop_reason=met)
                )

    def _ending(self, choice: TextChoice) -> Iterator[Completion]:
        finish = self._piece(choice)
        if choice.index < len(self._echoes) * self._n - 1:
            yield finish
            return
        timings = self._tally.timings()
        if self._usage == "never":
            yield msgspec.structs.replace(finish, timings=timings)
            return
        yield finish
        usage = self._tally.usage()
        yield msgspec.structs.replace(finish, choices=[], usage=usage, timings=timings)

    def _piece(self, choice: TextChoice) -> Completion:
        return Completion(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[choice],
            usage=self._tally.usage_so_far(self._usage),
        )


def joined(pieces: Sequence[Completion]) -> Completion:
    """The plain answer of a stream whose last event carries the usage."""
    parts: dict[int, list[TextChoice]] = {}
    for piece in pieces:
        for part in piece.choices:
            parts.setdefault(part.index, []).append(part)
    choices = [_joined_choice(index, of_one) for index, of_one in parts.items()]
    return msgspec.structs.replace(pieces[-1], choices=choices)


def _joined_choice(index: int, parts: Sequence[TextChoice]) -> TextChoice:
    told = [part.logprobs for part in parts if part.logprobs]
    return TextChoice(
        index=index,
        text="".join(part.text for part in parts),
        logprobs=_joined_logprobs(told) if told else None,
        finish_reason=parts[-1].finish_reason,
        stop_reason=parts[-1].stop_reason,
    )


def _joined_logprobs(told: Sequence[TextLogProbs]) -> TextLogProbs:
    return TextLogProbs(
        tokens=[token for one in told for token in one.tokens],
        token_logprobs=[value for one in told for value in one.token_logprobs],
        top_logprobs=[top for one in told for top in one.top_logprobs],
        text_offset=[offset for one in told for offset in one.text_offset],
    )
