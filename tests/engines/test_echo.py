"""The echo engine is an engine, and misbehaves only where a test asks it to."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from jan_server import engines
from jan_server.engines.base import (
    Finished,
    GenerationRequest,
    LoadedModel,
    ModelSpec,
    Piece,
    Progress,
    Started,
)
from jan_server.engines.echo import EchoEngine
from jan_server.errors import ModelCannotRun
from tests.engines.contract import EngineContract

SPEC = ModelSpec(id="echo", engine="echo")


class TestEchoIsAnEngine(EngineContract):
    prompt = "one two three four five six seven eight nine ten"

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> Iterator[LoadedModel]:
        loaded = EchoEngine().load(ModelSpec(id="echo", engine="echo", ctx_len=64))
        yield loaded
        loaded.close()


def test_it_says_the_prompt_again_word_by_word() -> None:
    model = EchoEngine().load(SPEC)
    assert list(model.generate(GenerationRequest(prompt=" Grüß  dich,\nWelt 👋"))) == [
        Started(5),
        Progress(5),
        Piece(" "),
        Piece("Grüß  "),
        Piece("dich,\n"),
        Piece("Welt "),
        Piece("👋"),
        Finished("stop", 5),
    ]


def test_an_empty_prompt_has_an_empty_answer() -> None:
    model = EchoEngine().load(SPEC)
    events = list(model.generate(GenerationRequest(prompt="")))
    assert events == [Started(0), Progress(0), Finished("stop", 0)]


def test_what_tests_ask_it_for() -> None:
    model = EchoEngine().load(SPEC)
    EchoEngine().prepare(SPEC)
    with pytest.raises(ValueError, match="the prompt asked for it"):
        list(model.generate(GenerationRequest(prompt="a [[fail]]")))
    began = time.monotonic()
    list(model.generate(GenerationRequest(prompt="[[slow 0.01]] b")))
    assert time.monotonic() - began >= 0.03


@pytest.mark.parametrize(
    "name", [None, "", "nitro", "cortex.llamacpp", "llama-cpp", "llamacpp", "ctransformers"]
)
def test_what_jans_manifests_say_is_ctransformers(name: str | None) -> None:
    assert engines.canonical_name(name) == "ctransformers"
    assert engines.needs_weights(name)


def test_echo_is_used_only_by_its_name_and_needs_no_weights() -> None:
    assert not engines.needs_weights("echo")
    assert isinstance(engines.resolve("echo"), EchoEngine)


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelCannotRun) as caught:
        engines.resolve("openai")
    assert caught.value.message == (
        "No engine is called 'openai'. Known engines: cortex.llamacpp, ctransformers, echo, "
        "llama-cpp, llamacpp, nitro."
    )
