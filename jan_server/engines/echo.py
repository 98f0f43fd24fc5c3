"""An engine that says the prompt again: it stands in for a model in tests and examples.

It is used only where a manifest names it. A token is a word with the white space that follows it,
so the pieces joined are the prompt. The context is `ctx_len`, or 2048 words, for each slot; what a
slot holds costs nothing again. Sampling parameters and seeds have no effect, since every word is
certain; `max_tokens`, `stop` and `logprobs` have. A text's embedding counts its words, each in one
of eight numbers. With the `prompt_template` `{prompt}` in the manifest, a chat's answer is the
user's own words.

What tests need beyond that is asked for in the prompt:

    [[slow 0.05]]  anywhere: sleep so many seconds before each word
    [[fail]]       raise ValueError when this word's turn comes
    [[hang]]       sleep for ever when this word's turn comes
    [[die]]        end the process at once when this word's turn comes
"""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from zlib import crc32

from jan_server.engines.base import (
    Choice,
    Embedded,
    Event,
    Finished,
    GenerationRequest,
    Likelihood,
    ModelInfo,
    ModelSpec,
    Piece,
    Progress,
    Started,
)
from jan_server.engines.slots import common_prefix
from jan_server.engines.text import Stop, first_stop
from jan_server.errors import InvalidRequest

DEFAULT_CONTEXT = 2048
EMBEDDING_LENGTH = 8
EXIT_CODE_OF_DIE = 70

_WORDS = re.compile(r"\S+\s*|\s+")
_SLOW = re.compile(r"\[\[slow (\d+(?:\.\d+)?)\]\]")


class EchoEngine:
    needs_weights = False

    def prepare(self, spec: ModelSpec) -> None:
        """Nothing to do."""

    def load(self, spec: ModelSpec) -> EchoModel:
        return EchoModel(spec.ctx_len or DEFAULT_CONTEXT, spec.slots or 1)


class EchoModel:
    def __init__(self, context_length: int, slots: int) -> None:
        self.info = ModelInfo(
            context_length=context_length,
            device="nothing",
            slots=slots,
            embedding_length=EMBEDDING_LENGTH,
        )
        self._words: list[str] = []
        self._ids: dict[str, int] = {}
        self._held: list[list[int]] = [[] for _ in range(slots)]

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:  # noqa: ARG002 - it has none
        return [self._id(word) for word in _WORDS.findall(text)]

    def detokenize(self, tokens: Sequence[int]) -> str:
        return "".join(map(self._word, tokens))

    def check(self, request: GenerationRequest) -> None:
        """Nothing is wrong with what has no effect."""

    def held(self, slot: int) -> Sequence[int]:
        return self._held[slot]

    def generate(
        self, prompt: Sequence[int], request: GenerationRequest, *, slot: int = 0
    ) -> Iterator[Event]:
        words = [self._word(token) for token in prompt]
        cached = common_prefix(self._held[slot], prompt[:-1]) if request.cache_prompt else 0
        yield Started(cached)
        self._held[slot] = list(prompt)
        yield Progress(len(prompt))
        stop = first_stop("".join(words), request.stop)
        texts = _before(stop, words) if stop else words
        pause = _pause(words)
        answer = texts[: min(self.info.context_length - len(prompt), request.max_tokens)]
        for token, word, text in zip(prompt, words, answer, strict=False):
            _misbehave(word, pause)
            self._held[slot].append(token)
            yield Piece(text, choices=_certain(token, word, request.logprobs))
        if len(answer) < len(texts):
            yield Finished("length", len(answer))
        else:
            yield Finished("stop", len(answer), stop_string=stop.word if stop else None)

    def embed(self, prompt: Sequence[int], *, slot: int = 0) -> Iterator[Event]:
        words = [self._word(token) for token in prompt]
        yield Started()
        self._held[slot] = list(prompt)
        pause, counts = _pause(words), [0] * EMBEDDING_LENGTH
        for done, word in enumerate(words, start=1):
            _misbehave(word, pause)
            counts[crc32(word.strip().encode()) % EMBEDDING_LENGTH] += 1
            yield Progress(done)
        yield Embedded([count / math.hypot(*counts) for count in counts])

    def close(self) -> None:
        """Nothing is held."""

    def _id(self, word: str) -> int:
        if word not in self._ids:
            # In this order: who finds the id finds the word, in another thread too.
            self._words.append(word)
            self._ids[word] = len(self._words) - 1
        return self._ids[word]

    def _word(self, token: int) -> str:
        if not 0 <= token < len(self._words):
            raise InvalidRequest(f"{token} is no token of this model.")
        return self._words[token]


def _before(stop: Stop, words: list[str]) -> list[str]:
    """The words before a stop string, the last of them cut where it begins."""
    end = stop.start
    starts = accumulate(map(len, words), initial=0)
    return [word[: end - start] for start, word in zip(starts, words, strict=False) if start < end]


def _certain(token: int, word: str, logprobs: int | None) -> tuple[Choice, ...]:
    if logprobs is None:
        return ()
    only = Likelihood(token, word.encode(), 0.0)
    return (Choice(only, (only,)[:logprobs]),)


def _pause(words: list[str]) -> float:
    slow = _SLOW.search("".join(words))
    return float(slow[1]) if slow else 0.0


def _misbehave(word: str, pause: float) -> None:
    if pause:
        time.sleep(pause)
    if "[[fail]]" in word:
        raise ValueError("the prompt asked for it")
    if "[[hang]]" in word:
        threading.Event().wait()
    if "[[die]]" in word:
        os._exit(EXIT_CODE_OF_DIE)
