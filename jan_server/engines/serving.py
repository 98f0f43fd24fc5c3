"""A loaded model at work: a thread that tokenises, and one for each slot that answers.

What arrives is tokenised at once, whatever the slots do; so a prompt that cannot be answered is
refused before it waits. An error that is no answer's ends the process (`threads.py`).
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING

import msgspec

from jan_server.engines import threads, wire
from jan_server.engines.base import (
    Accepted,
    Embedded,
    EmbeddingRequest,
    Event,
    Finished,
    LoadedModel,
    ModelInfo,
    Request,
)
from jan_server.engines.dispatch import Dispatch, Job
from jan_server.engines.gathering import gathered
from jan_server.errors import (
    ContextLengthExceeded,
    EngineFailed,
    InvalidRequest,
    JanError,
    ModelCannotRun,
    ParameterNotSupported,
)
from jan_server.logs import frames

if TYPE_CHECKING:
    from collections.abc import Generator

Arriving = wire.Answer | wire.Tokenize | wire.Detokenize

LOOKED_AT = 16
"""Characters for each token of the context, of which a token has four in most texts: a prompt that
is longer is looked at so far before it is tokenised."""

QUIET_SECONDS = 0.1
"""A program that goes on at once does so within this time, and would wait for what comes after."""


class Serving:
    """Whoever made it must `close` it."""

    def __init__(self, model: LoadedModel, send: Callable[[wire.Reply], None]) -> None:
        self._model = model
        self._send = send
        self._dispatch = Dispatch(model.info.slots, held=model.held, send=send)
        self._arriving: SimpleQueue[Arriving | None] = SimpleQueue()
        self._threads = [
            threads.start("tokenise", self._tokenise),
            *(threads.start(f"slot {n}", self._work, n) for n in range(model.info.slots)),
        ]

    def put(self, command: Arriving) -> None:
        if isinstance(command, wire.Answer):
            self._dispatch.expect(command.id)
        self._arriving.put(command)

    def cancel(self, id: int) -> None:
        self._dispatch.cancel(id)

    def close(self) -> None:
        """Cancel what runs or waits, and free the model when its slots are at rest."""
        self._dispatch.close()
        self._arriving.put(None)
        for thread in self._threads:
            thread.join()
        self._model.close()

    # The thread that tokenises:

    def _tokenise(self) -> None:
        while (command := self._arriving.get()) is not None:
            if job := self._accepted(command):
                self._dispatch.add(job)

    def _accepted(self, command: Arriving) -> Job | None:
        """What is to wait for a slot; everything else is answered here."""
        try:
            match command:
                case wire.Tokenize(id, text, bos):
                    self._send(wire.Tokenized(id, self._model.tokenize(text, bos=bos)))
                case wire.Detokenize(id, tokens):
                    self._send(wire.Detokenized(id, self._model.detokenize(tokens)))
                case wire.Answer():
                    return self._accept(command)
        except Exception as error:  # noqa: BLE001 - an engine may raise anything; it is told
            self._dispatch.end(command.id)
            self._send(failure(error, id=command.id))
        return None

    def _accept(self, command: wire.Answer) -> Job | None:
        id, request = command.id, command.request
        if self._dispatch.is_cancelled(id):
            self._dispatch.end(id)
            self._send(wire.Cancelled(id))
            return None
        prompt = self._checked(request)
        self._send(wire.Emitted(id, Accepted(len(prompt))))
        return Job(id, command.client, msgspec.structs.replace(request, prompt=()), prompt)

    def _checked(self, request: Request) -> array[int]:
        """The prompt's tokens, when all that can be refused before a slot is free was not."""
        refuse_unsupported(request, self._model.info)
        prompt = compact(self._tokens(request.prompt))
        refuse_misfit(prompt, self._model.info.context_length)
        if not isinstance(request, EmbeddingRequest):
            self._model.check(request)
        return prompt

    def _tokens(self, prompt: str | tuple[int, ...]) -> Sequence[int]:
        if isinstance(prompt, str):
            self._refuse_far_too_long(prompt)
            return self._model.tokenize(prompt)
        self._model.detokenize(prompt)  # It refuses what is no token.
        return prompt

    def _refuse_far_too_long(self, prompt: str) -> None:
        """By its beginning: a megabyte takes seconds, in which nobody else's prompt is read."""
        room = self._model.info.context_length
        if len(prompt) <= LOOKED_AT * room:
            return
        count = len(self._model.tokenize(prompt[: LOOKED_AT * room]))
        if count >= room:
            raise ContextLengthExceeded(count, room, is_all=False)

    # The threads of the slots:

    def _work(self, slot: int) -> None:
        while (job := self._dispatch.next(slot)) is not None:
            events = self._events(job, slot)
            last = self._answer(job, events)
            # First the slot: who asks again after the last reply finds it free.
            self._dispatch.release(slot)
            self._send(last)
            self._leave(events, goes_on=isinstance(last, wire.Done), slot=slot)

    def _answer(self, job: Job, events: Generator[Event]) -> wire.Reply:
        """The last reply, when all others are sent."""
        try:
            for event in gathered(self._until_cancelled(events, job.id)):
                self._send(wire.Emitted(job.id, event))
                if isinstance(event, Finished | Embedded):
                    return wire.Done(job.id)
            events.close()
        except Exception as error:  # noqa: BLE001 - an engine may raise anything; it is told
            return failure(error, id=job.id)
        cancelled = self._dispatch.is_cancelled(job.id)
        return wire.Cancelled(job.id) if cancelled else wire.Done(job.id)

    def _leave(self, events: Generator[Event], *, goes_on: bool, slot: int) -> None:
        """Let the engine do what comes after its last event, unless somebody wants it; close it."""
        try:
            if goes_on and not self._dispatch.is_wanted(slot, within=QUIET_SECONDS):
                next(events, None)
            events.close()
        except Exception as error:  # noqa: BLE001 - the answer is out already; it is logged
            print(frames(error), file=sys.stderr, flush=True)

    def _events(self, job: Job, slot: int) -> Generator[Event]:
        prompt = list(job.prompt)
        if isinstance(job.request, EmbeddingRequest):
            yield from self._model.embed(prompt, slot=slot)
        else:
            yield from self._model.generate(prompt, job.request, slot=slot)

    def _until_cancelled(self, events: Iterator[Event], id: int) -> Iterator[Event]:
        while not self._dispatch.is_cancelled(id):
            event = next(events, None)
            if event is None:
                return
            yield event


def refuse_unsupported(request: Request, info: ModelInfo) -> None:
    """Raises for what is asked of a model that cannot do it."""
    if isinstance(request, EmbeddingRequest):
        if not info.embedding_length:
            raise ModelCannotRun("This model makes no embeddings.")
    elif request.constraint is not None and not info.constrains:
        raise ParameterNotSupported("This model's engine cannot keep an answer to a given form.")


def refuse_misfit(prompt: Sequence[int], context_length: int) -> None:
    """Raises for a prompt of no tokens, and for one that leaves no room for an answer."""
    if not prompt:
        raise InvalidRequest("The prompt is empty.", param="$.prompt")
    if len(prompt) >= context_length:
        raise ContextLengthExceeded(len(prompt), context_length)


def compact(tokens: Sequence[int]) -> array[int]:
    """Four bytes for each, where a list of numbers takes 36."""
    return array("i", tokens)


def failure(error: Exception, *, id: int | None = None) -> wire.Failed:
    """What is said of an error; where an unexpected one arose is logged."""
    if not isinstance(error, JanError):
        print(frames(error), file=sys.stderr, flush=True)
        error = EngineFailed(error)
    return wire.failed(error, id=id)
