"""The echo engine is an engine, and misbehaves only where a test asks it to."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest

from jan_server.engines.base import (
    Choice,
    Embedded,
    Event,
    Finished,
    GenerationRequest,
    Likelihood,
    LoadedModel,
    ModelInfo,
    ModelSpec,
    Piece,
    Progress,
    Started,
)
from jan_server.engines.echo import EchoEngine, EchoModel
from tests.engines.contract import EmbeddingContract, EngineContract

SPEC = ModelSpec(id="echo", engine="echo")


class TestEchoIsAnEngine(EngineContract, EmbeddingContract):
    prompt = "one two three four five six seven eight nine ten"

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> Iterator[LoadedModel]:
        loaded = EchoEngine().load(ModelSpec(id="echo", engine="echo", ctx_len=64, slots=2))
        yield loaded
        loaded.close()


@pytest.fixture
def model() -> EchoModel:
    EchoEngine().prepare(SPEC)
    return EchoEngine().load(SPEC)


def say(model: EchoModel, prompt: str, **values: Any) -> list[Event]:
    request = GenerationRequest(prompt=prompt, **values)
    return list(model.generate(model.tokenize(prompt), request))


def test_what_it_says_of_itself(model: EchoModel) -> None:
    assert model.info == ModelInfo(
        context_length=2048, device="nothing", slots=1, embedding_length=8
    )


def test_it_says_the_prompt_again_word_by_word(model: EchoModel) -> None:
    assert say(model, " Grüß  dich,\nWelt 👋") == [
        Started(0),
        Progress(5),
        Piece(" "),
        Piece("Grüß  "),
        Piece("dich,\n"),
        Piece("Welt "),
        Piece("👋"),
        Finished("stop", 5),
    ]


def test_what_it_holds_is_its_last_prompt_and_answer(model: EchoModel) -> None:
    say(model, "one two three", max_tokens=2)
    assert model.detokenize(model.held(0)) == "one two threeone two "
    assert say(model, "one two four", max_tokens=0)[0] == Started(2)
    assert say(model, "one two four", max_tokens=0)[0] == Started(2)
    assert say(model, "one two four five", max_tokens=0, cache_prompt=False)[0] == Started(0)


def test_words_that_tokens_run_together_stay_tokens(model: EchoModel) -> None:
    tokens = model.tokenize("a") + model.tokenize("b") + model.tokenize("c")
    request = GenerationRequest(prompt=tuple(tokens), stop=("bc",))
    assert list(model.generate(tokens, request))[2:] == [
        Piece("a"),
        Finished("stop", 1, stop_string="bc"),
    ]


def test_a_stop_string_cuts_a_word(model: EchoModel) -> None:
    assert say(model, "one three", stop=("ree",))[2:] == [
        Piece("one "),
        Piece("th"),
        Finished("stop", 2, stop_string="ree"),
    ]


def test_every_word_is_certain(model: EchoModel) -> None:
    [word] = model.tokenize("ü")
    only = Likelihood(word, "ü".encode(), 0.0)
    assert say(model, "ü", logprobs=3)[2] == Piece("ü", choices=(Choice(only, (only,)),))
    assert say(model, "ü", logprobs=0)[2] == Piece("ü", choices=(Choice(only),))


def test_an_embedding_counts_words(model: EchoModel) -> None:
    once, twice = (
        list(model.embed(model.tokenize(text)))[-1] for text in ("word", "word word other")
    )
    assert isinstance(once, Embedded)
    assert isinstance(twice, Embedded)
    assert sorted(once.vector) == [0.0] * 7 + [1.0]
    assert sorted(twice.vector) == [0.0] * 6 + [1 / math.sqrt(5), 2 / math.sqrt(5)]


@pytest.mark.parametrize("ask", ["generate", "embed"])
def test_what_tests_ask_it_for(model: EchoModel, ask: str) -> None:
    def run(prompt: str) -> None:
        tokens = model.tokenize(prompt)
        request = GenerationRequest(prompt=prompt)
        list(model.embed(tokens) if ask == "embed" else model.generate(tokens, request))

    with pytest.raises(ValueError, match="the prompt asked for it"):
        run("a [[fail]]")
    began = time.monotonic()
    run("[[slow 0.01]] b")
    assert time.monotonic() - began >= 0.03
