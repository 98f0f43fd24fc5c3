"""A loaded model: our own loop over the library.

An answer is made as: evaluate the prompt in chunks, then sample, emit, evaluate; so a token is
shown before the next is computed, and the generator can be closed between any two. What its last
token leaves behind is computed when the answer is out.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Iterator, Sequence
from typing import Literal

import numpy as np

from jan_server.engines.base import (
    Choice,
    Embedded,
    Event,
    Finished,
    GenerationRequest,
    Likelihood,
    ModelInfo,
    Piece,
    Progress,
    Started,
)
from jan_server.engines.constraints import Constraints, Guide
from jan_server.engines.decoding.context import CHUNK, Context
from jan_server.engines.decoding.cores import Cores
from jan_server.engines.decoding.native import Floats
from jan_server.engines.decoding.sampling import Sampler, check_bias, likelihoods
from jan_server.engines.decoding.tokenizer import TextEncoder, with_bos
from jan_server.engines.decoding.vocabulary import Vocabulary, detokenize
from jan_server.engines.text import TextStream
from jan_server.errors import InvalidRequest


class DecodedModel:
    """`base.LoadedModel`."""

    def __init__(
        self,
        contexts: Sequence[Context],
        vocabulary: Vocabulary,
        encoder: TextEncoder,
        *,
        info: ModelInfo,
        cores: Cores,
    ) -> None:
        self.info = info
        self._contexts = contexts
        self._vocabulary = vocabulary
        self._encoder = encoder
        self._cores = cores
        self._constraints = Constraints(
            tokens=lambda: vocabulary.spellings,
            special=vocabulary.unspoken,
            ends=vocabulary.ends,
            encode=encoder.encode,
        )

    def __repr__(self) -> str:
        return f"<DecodedModel {list(self._contexts)}>"

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest("The prompt has half a surrogate pair in it.") from error
        ids = self._encoder.encode(text)
        return with_bos(ids, self._vocabulary) if bos else ids

    def detokenize(self, tokens: Sequence[int]) -> str:
        self._check_ids(tokens, "tokens")
        return detokenize(self._vocabulary, tokens)

    def check(self, request: GenerationRequest) -> None:
        if not isinstance(request.prompt, str):
            self._check_ids(request.prompt, "prompt")
        check_bias(request.logit_bias, len(self._vocabulary.tokens))
        self._guide(request)

    def held(self, slot: int) -> Sequence[int]:
        return self._contexts[slot].evaluated

    def generate(
        self, prompt: Sequence[int], request: GenerationRequest, *, slot: int = 0
    ) -> Iterator[Event]:
        context = self._contexts[slot]
        with self._cores.answering(), context.at_work():
            finished, left = yield from self._answer(context, prompt, request)
        yield finished
        # The user reads now; the next turn begins with the whole answer. (No more of a long end
        # than can be broken off.)
        if left and request.cache_prompt:
            with context.at_work():
                context.go_on(left[:CHUNK], with_logits=False)

    def _answer(
        self, context: Context, prompt: Sequence[int], request: GenerationRequest
    ) -> Generator[Event, None, tuple[Finished, list[int]]]:
        """How it ended, and what is left of it that was not evaluated."""
        guide = self._guide(request)
        begun = time.perf_counter()
        if not request.cache_prompt:
            context.forget()
        yield from self._read(context, prompt, exactly=request.seed is not None)
        read = time.perf_counter()
        answer = _Answer(request, self._vocabulary, read=len(prompt))
        room = min(self.info.context_length - len(prompt), request.max_tokens)
        left = yield from self._write(context, answer, guide, room=room)
        finished = Finished(
            answer.reason,
            answer.count,
            prompt_seconds=read - begun,
            answer_seconds=time.perf_counter() - read,
            stop_string=answer.stop_string,
        )
        return finished, left

    def embed(self, prompt: Sequence[int], *, slot: int = 0) -> Iterator[Event]:
        context = self._contexts[slot]
        with self._cores.answering(), context.at_work():
            yield from self._read(context, prompt, exactly=True)
            vector = context.embedding().astype(np.float64)
        yield Embedded((vector / (np.linalg.norm(vector) or 1.0)).tolist())

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def _check_ids(self, tokens: Collection[int], where: str) -> None:
        size = len(self._vocabulary.tokens)
        wrong = next((token for token in tokens if not 0 <= token < size), None)
        if wrong is not None:
            raise InvalidRequest(
                f"{where}: {wrong} is no token; this model's are 0 to {size - 1}.",
                param=f"$.{where}",
            )

    def _guide(self, request: GenerationRequest) -> Guide | None:
        if request.constraint is None:
            return None
        return self._constraints.begin(request.constraint, visible=request.visible)

    def _read(self, context: Context, prompt: Sequence[int], *, exactly: bool) -> Iterator[Event]:
        yield Started(context.reuse(prompt, exactly=exactly))
        for done in context.read(prompt):
            yield Progress(done)

    def _write(
        self, context: Context, answer: _Answer, guide: Guide | None, *, room: int
    ) -> Generator[Event, None, list[int]]:
        """Sample, emit, evaluate; what is left that was not evaluated.

        The tokens that end an answer are counted, as llama.cpp does.
        """
        request = answer.request
        chosen: list[int] = []
        sampler = Sampler(request, ends=self._vocabulary.ends)
        while answer.count < room and not answer.ended:
            logits = context.logits()
            mask = guide.mask() if guide else None
            token = sampler.choose(logits, context.evaluated, mask)
            yield from answer.take(token, self._choice(logits, token, request.logprobs))
            chosen = [token]
            if guide and not answer.ended:
                guide.accept(token)
                answer.ended = answer.ended or guide.complete
                for forced in self._forced(guide, answer, room=room):
                    sampler.accept(forced)
                    yield from answer.take(forced)
                    chosen.append(forced)
            if answer.count < room and not answer.ended:
                context.go_on(chosen)
                chosen = []
        yield from answer.rest()
        return chosen

    def _forced(self, guide: Guide, answer: _Answer, *, room: int) -> Iterator[int]:
        """What the constraint leaves no choice of. Where likelihoods are told, all are chosen."""
        if answer.request.logprobs is not None:
            return
        for token in guide.forced()[: room - answer.count]:
            if answer.ended:
                return
            guide.accept(token)
            yield token
            answer.ended = answer.ended or guide.complete

    def _choice(self, logits: Floats, token: int, count: int | None) -> Choice | None:
        if count is None:
            return None
        logprob, top = likelihoods(logits, token, count)
        return Choice(
            Likelihood(token, self._vocabulary.spelled(token), logprob),
            tuple(Likelihood(id, self._vocabulary.spelled(id), value) for id, value in top),
        )


class _Answer:
    """What one answer to `read` tokens has said so far, and whether it is over."""

    def __init__(self, request: GenerationRequest, vocabulary: Vocabulary, *, read: int) -> None:
        self.request = request
        self.count = 0
        self.ended = False
        self._vocabulary = vocabulary
        self._visible = (
            {id for text, id in vocabulary.special.items() if text.decode() in request.visible}
            if request.visible
            else set()
        )
        self._text = TextStream(request.stop)
        self._read = read
        self._unseen = 0
        self._choices: list[Choice] = []

    @property
    def reason(self) -> Literal["stop", "length"]:
        return "stop" if self.ended else "length"

    @property
    def stop_string(self) -> str | None:
        return self._text.met

    def take(self, token: int, choice: Choice | None = None) -> Iterator[Piece | Progress]:
        """The piece that the token makes certain; if it shows nothing, that we are still here."""
        self.count += 1
        if token in self._vocabulary.ends:
            self.ended = True
            return
        self._unseen += 1
        if choice is not None:
            self._choices.append(choice)
        text = self._text.push(self._spelled(token))
        yield from self._piece(text) if text else (Progress(self._read),)
        self.ended = self.ended or self._text.stopped

    def rest(self) -> Iterator[Piece]:
        """What was held back, now that nothing follows."""
        yield from self._piece(self._text.finish())

    def _spelled(self, token: int) -> bytes:
        of = self._vocabulary
        return of.spelled(token) if token in self._visible else of.piece(token)

    def _piece(self, text: str) -> Iterator[Piece]:
        if text:
            piece = Piece(text, self._unseen, tuple(self._choices))
            self._unseen, self._choices = 0, []
            yield piece
