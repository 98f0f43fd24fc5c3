"""A manifest is understood whatever hands have done to it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from jan_server.engines.base import Parameters
from jan_server.parameters import ROWS, resolve
from jan_server.types import model
from jan_server.types.model import Manifest, ModelSettings, Source

HUB = "https://huggingface.co/o/r/resolve/main/m.gguf"


def test_jan_044_wrote_one_address() -> None:
    manifest = Manifest.from_value({"id": "m", "version": 1, "source_url": HUB})
    assert manifest == Manifest(id="m", version=1, source_url=HUB)
    assert manifest.downloads() == (Source(url=HUB),)


def test_jan_046_wrote_sources() -> None:
    source = {"filename": "m.gguf", "url": HUB}
    manifest = Manifest.from_value({"id": "m", "sources": [source], "source_url": "ignored"})
    assert manifest.downloads() == (Source(filename="m.gguf", url=HUB),)


def test_a_model_of_a_remote_engine_has_nothing_to_download() -> None:
    assert Manifest.from_value({"id": "gpt-4", "format": "api"}).downloads() == ()


def test_numbers_may_be_written_as_strings() -> None:
    manifest = Manifest.from_value(
        {
            "settings": {"ctx_len": "2048", "ngl": "100", "embedding": "true", "cpu_threads": 4.0},
            "parameters": {"temperature": "0.7", "top_k": "40", "stream": "true", "stop": "x"},
        }
    )
    assert manifest.settings == ModelSettings(ctx_len=2048, ngl=100, embedding=True, cpu_threads=4)
    assert manifest.parameters == {"temperature": 0.7, "top_k": 40, "stream": True, "stop": "x"}


PARAMETERS: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.5,
    "max_tokens": 5,
    "max_completion_tokens": 7,
    "token_limit": 6,
    "n_predict": 8,
    "top_k": 5,
    "min_p": 0.5,
    "typical_p": 0.5,
    "typ_p": 0.6,
    "mirostat": 2,
    "mirostat_tau": 3.0,
    "mirostat_eta": 0.5,
    "repeat_penalty": 1.5,
    "repetition_penalty": 1.6,
    "repeat_last_n": 5,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "logit_bias": {"5": 1.0},
    "seed": 5,
    "stop": ["x"],
    "ignore_eos": True,
    "cache_prompt": False,
}


def test_what_a_request_may_say_of_an_answer_a_manifest_may_too() -> None:
    manifest = Manifest.from_value({"parameters": PARAMETERS})
    assert manifest.parameters == PARAMETERS
    assert PARAMETERS.keys() == {name for row in ROWS for name in row.names}
    chosen = msgspec.structs.asdict(resolve({}, [("model.json", manifest.parameters)]))
    untouched = msgspec.structs.asdict(Parameters())
    assert [name for name, value in chosen.items() if value == untouched[name]] == ["logprobs"]


@pytest.mark.parametrize("keep_alive", [300, 0.5, -1, "300", "5m", "1h30m", "-1"])
def test_how_a_model_is_kept_and_shared_is_understood(keep_alive: float | str) -> None:
    settings = {"keep_alive": keep_alive, "n_parallel": "4", "truncation": "auto"}
    assert Manifest.from_value({"settings": settings}).settings == ModelSettings(
        keep_alive=keep_alive, n_parallel=4, truncation="auto"
    )


def test_unknown_fields_are_not_its_business(caplog: pytest.LogCaptureFixture) -> None:
    value = {"id": "m", "colour": "red", "settings": {"x": 1}, "parameters": {"y": 2}}
    assert Manifest.from_value(value) == Manifest(id="m")
    assert caplog.messages == []


@pytest.fixture(autouse=True)
def nothing_was_logged_before() -> None:
    """What is left out is logged once, and these tests share a process."""
    model._log_skipped.cache_clear()


@pytest.mark.parametrize(
    ("value", "understood", "complaint"),
    [
        ({"name": 5}, Manifest(), "name: left out: Expected `str`, got `int`"),
        ({"name": None}, Manifest(), None),
        (
            {"settings": {"ctx_len": "many", "ngl": 3}},
            Manifest(settings=ModelSettings(ngl=3)),
            "settings, ctx_len: left out: Expected `int | null`, got `str`",
        ),
        (
            {"settings": {"ctx_len": 0}},
            Manifest(),
            "settings, ctx_len: left out: Expected `int` >= 1",
        ),
        (
            {"settings": {"n_parallel": 65}},
            Manifest(),
            "settings, n_parallel: left out: Expected `int` <= 64",
        ),
        (
            {"settings": {"keep_alive": "soon"}},
            Manifest(),
            "settings, keep_alive: left out: Expected `str` matching regex",
        ),
        (
            {"settings": {"truncation": "some"}},
            Manifest(),
            "settings, truncation: left out: Invalid enum value 'some'",
        ),
        ({"settings": []}, Manifest(), "settings: left out: is not an object"),
        (
            {"parameters": {"top_p": [], "seed": 1}},
            Manifest(parameters={"seed": 1}),
            "parameters, top_p: left out: Expected `float`, got `array`",
        ),
        (
            {"sources": {"url": HUB}},
            Manifest(),
            "sources: left out: Expected `array`, got `object`",
        ),
        (
            {"sources": [{"url": HUB, "sha256": "abc"}]},
            Manifest(sources=(Source(url=HUB),)),
            "sources[0], sha256: left out: Expected `str` matching regex '^[0-9a-fA-F]{64}$'",
        ),
        (
            {"aliases": ["small", 7]},
            Manifest(aliases=("small",)),
            "aliases[1]: left out: Expected `str`, got `int`",
        ),
        ([], Manifest(), "left out: is not an object"),
        ("text", Manifest(), "left out: is not an object"),
    ],
)
def test_a_field_of_a_wrong_type_is_absent_and_logged(
    value: Any, understood: Manifest, complaint: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert Manifest.from_value(value) == understood
    assert len(caplog.messages) == (complaint is not None)
    assert all(complaint in message for message in caplog.messages if complaint)
