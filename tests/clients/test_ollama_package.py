"""An independent client is the judge: the `ollama` package, unmodified, on a real server."""

from __future__ import annotations

import ollama
import pytest

from jan_server.settings import Settings
from tests.running import served
from tests.tiny_gguf import write_tiny_gguf

MODEL = "smollm2-135m-instruct"
HELLO = [{"role": "user", "content": "hello there"}]


@pytest.fixture
def client(settings, echo, write, data_folder):
    write("models/tiny/model.json", {"settings": {"ctx_len": 1024, "cpu_threads": 1}})
    write_tiny_gguf(data_folder / "models/tiny/tiny.gguf", context_length=1024)
    with served(settings) as base, ollama.Client(host=base) as client:
        yield client


def test_a_chat_is_answered_whole_or_in_pieces(client):
    whole = client.chat("echo", messages=HELLO)
    assert (whole.message.content, whole.done_reason) == ("hello there", "stop")
    assert (whole.prompt_eval_count, whole.eval_count) == (2, 2)
    pieces = list(client.chat("echo:latest", messages=HELLO, stream=True))
    assert "".join(piece.message.content for piece in pieces) == "hello there"
    assert pieces[-1].done


def test_a_prompt_is_answered(client):
    assert client.generate("echo", "hello there", options={"num_predict": 1}).response == "hello "
    pieces = client.generate("echo", "hello there", stream=True)
    assert "".join(piece.response for piece in pieces) == "hello there"
    assert client.generate("echo").done_reason == "load"


def test_an_answer_is_of_a_schema_and_a_tool_is_called(client):
    schema = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]}
    schema["additionalProperties"] = False
    more = {"options": {"num_predict": 100, "seed": 1}}
    answer = client.chat("tiny", messages=HELLO, format=schema, **more)
    assert answer.message.content.replace(" ", "").replace("\n", "") == '{"a":1}'

    def add(a: int, b: int) -> int:
        """Add two numbers.

        Args:
          a: The first.
          b: The second.
        """
        return a + b

    call = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'
    asked = [{"role": "user", "content": call}]
    message = client.chat("echo", messages=asked, tools=[add]).message
    [made] = message.tool_calls
    assert (made.function.name, made.function.arguments) == ("add", {"a": 1, "b": 2})
    result = {"role": "tool", "tool_name": "add", "content": "3"}
    again = client.chat("echo", messages=[*asked, message, result], tools=[add])
    assert "3" in again.message.content


def test_models_are_listed_shown_and_told_while_in_memory(client):
    assert {model.model for model in client.list().models} == {"echo", "tiny"}
    shown = client.show("tiny")
    assert (shown.details.family, shown.modelinfo["llama.context_length"]) == ("llama", 1024)
    client.generate("echo", keep_alive=60)
    [loaded] = client.ps().models
    assert loaded.model == "echo"


def test_texts_are_embedded(client):
    many = client.embed("echo", ["a b", "c"])
    assert len(many.embeddings) == 2
    assert client.embeddings("echo", "c").embedding == many.embeddings[1]


def test_errors_are_the_packages_own(client):
    with pytest.raises(ollama.ResponseError, match="No model has the id 'nope'") as caught:
        client.chat("nope", messages=HELLO)
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="models read text only"):
        client.chat("echo", messages=[{**HELLO[0], "images": [b"AAAA"]}])
    broken = client.chat(
        "echo", messages=[{"role": "user", "content": "[[slow 0.2]] a [[fail]]"}], stream=True
    )
    with pytest.raises(ollama.ResponseError, match="engine failed"):
        list(broken)


@pytest.mark.model
def test_the_capital_of_france_is_paris(smollm2_folder):
    settings = Settings(data_folder=smollm2_folder, fsync=False)
    france = [{"role": "user", "content": "What is the capital of France?"}]
    with served(settings) as base, ollama.Client(host=base) as client:
        answer = client.chat(MODEL, messages=france, options={"temperature": 0})
        prompted = client.generate(MODEL, france[0]["content"], options={"temperature": 0})
    assert "Paris" in answer.message.content
    assert prompted.response == answer.message.content
    assert (answer.prompt_eval_count, answer.done_reason) == (27, "stop")
