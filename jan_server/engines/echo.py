"""An engine that says the prompt again: it stands in for a model in tests and examples.

It is used only where a manifest names it. A token is a word with the white space that follows it,
so the pieces joined are the prompt. The context is `ctx_len`, or 2048 words. Sampling parameters
have no effect; `max_tokens` and `stop` have. With the `prompt_template` `{prompt}` in the manifest,
a chat's answer is the user's own words.

What tests need beyond that is asked for in the prompt:

    [[slow 0.05]]  anywhere: sleep so many seconds before each piece
    [[fail]]       raise ValueError when this word's turn comes
    [[die]]        end the process at once when this word's turn comes
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

from jan_server.engines.base import (
    Event,
    Finished,
    GenerationRequest,
    ModelInfo,
    ModelSpec,
    Piece,
    Progress,
    Started,
)
from jan_server.engines.text import first_stop
from jan_server.errors import ContextLengthExceeded

DEFAULT_CONTEXT = 2048
EXIT_CODE_OF_DIE = 70

_WORDS = re.compile(r"\S+\s*|\s+")
_SLOW = re.compile(r"\[\[slow (\d+(?:\.\d+)?)\]\]")


class EchoEngine:
    needs_weights = False

    def prepare(self, spec: ModelSpec) -> None:
        """Nothing to do."""

    def load(self, spec: ModelSpec) -> EchoModel:
        return EchoModel(spec.ctx_len or DEFAULT_CONTEXT)


class EchoModel:
    def __init__(self, context_length: int) -> None:
        self.info = ModelInfo(context_length=context_length, device="nothing")

    def generate(self, request: GenerationRequest) -> Iterator[Event]:
        prompt_tokens = len(_WORDS.findall(request.prompt))
        room = self.info.context_length - prompt_tokens
        if room < 1:
            raise ContextLengthExceeded(prompt_tokens, self.info.context_length)
        yield Started(prompt_tokens)
        yield Progress(prompt_tokens)
        words = _WORDS.findall(_before_any(request.stop, request.prompt))
        answer = words[: min(room, request.max_tokens)]
        for word in answer:
            _misbehave(word, request.prompt)
            yield Piece(word)
        yield Finished("stop" if len(answer) == len(words) else "length", len(answer))

    def close(self) -> None:
        """Nothing is held."""


def _before_any(stop: tuple[str, ...], text: str) -> str:
    return text[: first_stop(text, stop)]


def _misbehave(word: str, prompt: str) -> None:
    if slow := _SLOW.search(prompt):
        time.sleep(float(slow[1]))
    if "[[fail]]" in word:
        raise ValueError("the prompt asked for it")
    if "[[die]]" in word:
        os._exit(EXIT_CODE_OF_DIE)
