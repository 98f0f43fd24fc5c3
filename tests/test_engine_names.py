"""The names that manifests give their engines, as a chat meets them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.tiny_gguf import write_tiny_gguf

HELLO = {
    "model": "m",
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 3,
    "temperature": 0,
    "ignore_eos": True,
}


@pytest.fixture
def add(write, data_folder: Path):
    """A tiny model of an architecture, under an engine's name."""

    def make(engine: str, architecture: str) -> None:
        write("models/m/model.json", {"engine": engine, "settings": {"cpu_threads": 1}})
        write_tiny_gguf(data_folder / "models/m/m.gguf", architecture=architecture)

    return make


@pytest.mark.parametrize(
    ("engine", "architecture"),
    [
        ("nitro", "llama"),
        ("nitro", "qwen2"),
        ("cortex.llamacpp", "qwen2"),
        ("", "mamba"),
        ("llama-cpp", "llama"),
    ],
)
def test_a_model_answers_on_an_engine_that_runs_it(
    client: TestClient, add, engine: str, architecture: str
):
    add(engine, architecture)
    answer = client.post("/v1/chat/completions", json=HELLO)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("stream", [False, True])
def test_what_needs_the_extra_is_a_422_that_names_it(
    client: TestClient, add, stream: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    add("nitro", "qwen2")
    answer = client.post("/v1/chat/completions", json=HELLO | {"stream": stream})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == "model_cannot_run"
    assert "its architecture is 'qwen2'" in error["message"]
    assert 'pip install "jan-server[llama-cpp]"' in error["message"]


def test_a_named_engine_is_taken_at_its_word(client: TestClient, add):
    add("ctransformers", "qwen2")
    answer = client.post("/v1/chat/completions", json=HELLO)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "model_cannot_run")
