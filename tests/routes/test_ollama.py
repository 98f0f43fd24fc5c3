"""Ollama's API over the wire: lines, what it tells of models, errors in its form."""

from __future__ import annotations

import json
import logging
import time
from hashlib import sha256

import pytest

from jan_server.dialects.ollama.answer import moment
from jan_server.dialects.ollama.models import loaded_tag
from jan_server.engines.pooled import Seen
from tests.conftest import tree
from tests.remote.upstream import SECONDS, answering, running, streaming
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def ask(client, echo):
    def post(content="hello there you", *, path="/api/chat", **more):
        said = {"prompt": content} if path == "/api/generate" else {}
        if path == "/api/chat":
            said = {"messages": [{"role": "user", "content": content}]}
        return client.post(path, json={"model": echo, **said, **more})

    return post


def lines(answer):
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def said(line):
    return line["response"] if "response" in line else line["message"]["content"]


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_an_answer_is_lines_unless_it_is_said_otherwise(ask, path):
    told = lines(ask(path=path))
    assert "".join(map(said, told)) == "hello there you"
    assert [line["done"] for line in told] == [False] * (len(told) - 1) + [True]
    last = told[-1]
    assert (last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == ("stop", 3, 3)
    assert last["total_duration"] >= last["load_duration"] >= 0
    whole = ask(path=path, stream=False).json()
    assert (said(whole), whole["done"], whole["model"]) == ("hello there you", True, "echo")


def test_the_tag_that_ollama_gives_is_left_out(ask):
    answer = ask(model="echo:latest", stream=False).json()
    assert (said(answer), answer["model"]) == ("hello there you", "echo:latest")


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_options_are_honoured(ask, path):
    cut = ask(path=path, stream=False, options={"num_predict": 2}).json()
    assert (said(cut), cut["done_reason"]) == ("hello there ", "length")
    stopped = ask(path=path, stream=False, options={"stop": ["there"], "num_predict": -1}).json()
    assert (said(stopped), stopped["done_reason"]) == ("hello ", "stop")


def test_a_raw_prompt_is_gone_on_with(ask, write):
    write("models/echo/model.json", {"engine": "echo"})
    assert said(ask("one two", path="/api/generate", raw=True, stream=False).json()) == "one two"
    templated = ask("one two", path="/api/generate", stream=False).json()
    assert said(templated).startswith("<|im_start|>")


def test_a_conversation_that_is_too_long_loses_its_oldest_turns(ask, write):
    write("models/echo/model.json", {"engine": "echo", "settings": {"ctx_len": 24}})
    turns = [{"role": "user", "content": "long " * 40}, {"role": "assistant", "content": "a"}]
    messages = [*turns, {"role": "user", "content": "last"}]
    assert "long" not in said(ask(messages=messages, stream=False).json())
    refused = ask(messages=messages, stream=False, truncate=False)
    assert (refused.status_code, list(refused.json())) == (400, ["error"])


def test_a_call_is_told_whole(ask):
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    tool = {"type": "function", "function": {"name": "add"}}
    told = lines(ask(call, tools=[tool]))
    [calls] = [line["message"]["tool_calls"] for line in told if "tool_calls" in line["message"]]
    added = {"index": 0, "name": "add", "arguments": {"a": 1}}
    assert [each["function"] for each in calls] == [added]


def test_likelihoods_are_told_with_their_text(ask):
    told = lines(ask(logprobs=True, top_logprobs=1))
    tokens = [each["token"] for line in told for each in line.get("logprobs", ())]
    assert tokens == ["hello ", "there ", "you"]


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_without_anything_to_answer_the_model_is_loaded_or_unloaded(client, ask, path):
    def load(**more):
        answer = client.post(path, json={"model": "echo", **more}).json()
        assert (answer["done"], said(answer)) == (True, "")
        return answer["done_reason"]

    def loaded():
        return [model["name"] for model in client.get("/api/ps").json()["models"]]

    for at_once in (0, "0"):
        assert (load(keep_alive=at_once), loaded()) == ("unload", [])
    assert (load(), loaded()) == ("load", ["echo"])
    assert load(keep_alive="10m") == "load"
    assert load(keep_alive=0) == "unload"
    end = time.monotonic() + 30
    while loaded():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("path", "name", "value"), [("/api/chat", "shift", False), ("/api/generate", "suffix", "x")]
)
def test_what_cannot_be_honoured_is_refused_of_what_asks_nothing_too(
    client, echo, path, name, value
):
    answer = client.post(path, json={"model": echo, name: value})
    assert answer.status_code == 400
    assert f"cannot honour {name!r}" in answer.json()["error"]
    assert client.get("/api/ps").json() == {"models": []}


def test_a_larger_context_than_the_models_is_refused_and_a_smaller_one_is_fine(ask):
    for fine in (0, 512, 2048):
        assert ask(options={"num_ctx": fine}).status_code == 200
    answer = ask(options={"num_ctx": 4096})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(
        "$.options.num_ctx: the model's context holds 2048 tokens"
    )


# --- models ----------------------------------------------------------------------------------


@pytest.fixture
def tiny(write, data_folder):
    write("models/tiny/model.json", {"parameters": {"temperature": 0.5, "top_k": 4}})
    return write_tiny_gguf(
        data_folder / "models/tiny/tiny.gguf",
        chat_template="{# <think></think> #}x",
        extra_metadata={"general.license": "mit"},
    )


def test_models_are_told_with_what_their_files_say(client, echo, tiny):
    first, second = sorted(client.get("/api/tags").json()["models"], key=lambda tag: tag["name"])
    assert (first["name"], first["size"], first["details"]["family"]) == ("echo", 0, "")
    assert (second["model"], second["size"]) == ("tiny", tiny.stat().st_size)
    manifest = tiny.parent / "model.json"
    assert second["digest"] == sha256(manifest.read_bytes()).hexdigest()
    assert second["modified_at"] == moment(int(manifest.stat().st_mtime))
    assert (second["details"]["format"], second["details"]["family"]) == ("gguf", "llama")
    assert second["details"]["parameter_size"]


@pytest.mark.parametrize("name", [{"model": "tiny"}, {"name": "tiny:latest"}])
def test_a_model_is_shown(client, tiny, name):
    shown = client.post("/api/show", json=name).json()
    assert shown["parameters"] == "temperature 0.5\ntop_k 4"
    assert (shown["template"], shown["license"]) == ("{# <think></think> #}x", "mit")
    assert shown["capabilities"] == ["completion", "tools", "thinking"]
    info = shown["model_info"]
    assert (info["general.architecture"], info["llama.context_length"]) == ("llama", 256)
    assert info["general.parameter_count"] > 0
    assert not any(isinstance(value, list) for value in info.values())
    assert "tokenizer.chat_template" not in info


def test_the_template_of_a_manifest_goes_before_that_of_its_file(client, tiny, write):
    write("models/tiny/model.json", {"settings": {"prompt_template": "{prompt}!"}})
    shown = client.post("/api/show", json={"model": "tiny"}).json()
    assert shown["template"] == "{prompt}!"


def test_the_size_of_a_model_in_memory_is_what_it_takes_there(client, tiny):
    seen = Seen(id="tiny", state="running", memory=7)
    assert loaded_tag(seen, client.app.state.services.models.get("tiny")).size == 7


def test_a_file_that_cannot_be_read_hides_no_model(client, write):
    write("models/broken/model.json", {})
    write("models/broken/broken.gguf", b"GGUF")
    [tag] = client.get("/api/tags").json()["models"]
    assert (tag["name"], tag["details"]["family"]) == ("broken", "")


def test_what_is_in_memory_is_told(client, ask):
    assert client.get("/api/ps").json() == {"models": []}
    ask(keep_alive=-1)
    [loaded] = client.get("/api/ps").json()["models"]
    assert (loaded["name"], loaded["expires_at"][:4]) == ("echo", "2100")
    ask(keep_alive="1h")
    [loaded] = client.get("/api/ps").json()["models"]
    assert loaded["expires_at"] < "2100"


def test_a_model_whose_manifest_went_is_left_out_of_what_is_in_memory(client, ask, data_folder):
    ask()
    (data_folder / "models/echo/model.json").unlink()
    assert client.get("/api/ps").json() == {"models": []}


def test_clients_that_probe_find_a_server(client):
    assert client.head("/").status_code == 200
    assert client.get("/api/version").json()["version"].count(".") == 2
    assert client.head("/api/tags").status_code == 200


# --- embeddings ------------------------------------------------------------------------------


def test_texts_are_embedded(client, echo):
    answer = client.post("/api/embed", json={"model": "echo:latest", "input": ["a b", "a"]}).json()
    assert (answer["model"], answer["prompt_eval_count"]) == ("echo:latest", 3)
    one, two = answer["embeddings"]
    assert sum(number**2 for number in one) == pytest.approx(1)
    old = client.post("/api/embeddings", json={"model": "echo:latest", "prompt": "a"}).json()
    assert old == {"embedding": two}


EMBEDDED = [("/api/embed", {"input": "a"}), ("/api/embeddings", {"prompt": "a"})]


@pytest.mark.parametrize(("path", "text"), EMBEDDED)
def test_a_model_that_embeds_stays_as_long_as_is_asked(client, echo, path, text):
    assert client.post(path, json={"model": echo, "keep_alive": "1h", **text}).status_code == 200
    [loaded] = client.get("/healthz").json()["loaded"]
    assert 3000 < loaded["expires_in"] <= 3600


def test_vectors_can_only_be_as_long_as_the_models_own(client, echo):
    answer = client.post("/api/embed", json={"model": echo, "input": "a", "dimensions": 3})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("$.dimensions: the embeddings of 'echo' have 8")


@pytest.mark.parametrize(("path", "text"), EMBEDDED)
def test_what_is_not_known_of_embedding_is_logged(client, echo, caplog, path, text):
    caplog.set_level(logging.INFO, "jan_server.completions.fields")
    made_up = f"made_up_{path[5:]}"  # Each is logged once.
    assert client.post(path, json={"model": echo, made_up: 1, **text}).status_code == 200
    assert made_up in caplog.text


def test_a_text_that_cannot_be_embedded_is_named(client, echo):
    answer = client.post("/api/embeddings", json={"model": "echo", "prompt": ""})
    assert (answer.status_code, answer.json()) == (400, {"error": "$.prompt: is empty."})


# --- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize(
    ("more", "status", "says"),
    [
        ({"model": "nope"}, 404, "No model has the id 'nope'."),
        ({"model": ""}, 400, "$.model"),
        ({"options": {"temperature": 9}}, 400, "$.options.temperature"),
        ({"options": {"stop": ["x"] * 17}}, 400, "$.options.stop: must be at most 16 strings"),
        ({"keep_alive": "soon"}, 400, "$.keep_alive"),
        ({"options": {"num_predict": 1e12}}, 400, "$.options.num_predict: expected"),
        ({"options": {"num_predict": 2**40}}, 400, "$.options.num_predict: must be an integer"),
        ({"format": {"type": 7}}, 400, "$.format: "),
    ],
)
def test_errors_are_a_text(ask, path, more, status, says):
    for stream in (True, False):
        answer = ask(path=path, stream=stream, **more)
        assert (answer.status_code, list(answer.json())) == (status, ["error"])
        assert says in answer.json()["error"]


def test_a_model_to_show_must_be_named(client):
    assert client.post("/api/show", json={}).json() == {"error": "$.model: it is missing."}
    assert client.post("/api/show", json={"model": "nope"}).status_code == 404


def test_a_failure_in_the_middle_is_the_last_line(ask):
    told = lines(ask("[[slow 0.2]] hello [[fail]]"))
    assert list(told[-1]) == ["error"]
    assert ask("[[fail]]", stream=False).status_code == 500


def test_the_api_is_at_the_root_alone(client):
    answer = client.post("/v1/api/chat", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "route_not_found")
    assert client.get("/api/chat").json() == {
        "error": "GET is not possible here; POST, OPTIONS is."
    }


def test_nothing_is_kept(ask, data_folder):
    before = tree(data_folder)
    ask()
    assert tree(data_folder) == before


# --- models that another server answers ------------------------------------------------------


@pytest.fixture
def upstream(write):
    with running() as upstream:
        write("models/far/model.json", {"engine": "openai", "settings": {"full_url": upstream.url}})
        yield upstream


def test_another_server_is_asked_for_a_chat_completion(ask, upstream):
    chunk = {"choices": [{"delta": {"content": "Hi."}, "finish_reason": "stop"}]}
    upstream.script = streaming(f"data: {json.dumps(chunk)}\n\n".encode(), b"data: [DONE]\n\n")
    answer = ask("hi", model="far", stream=False, truncate=False, options={"num_ctx": 9999})
    assert said(answer.json()) == "Hi."
    assert upstream.seen.get(timeout=SECONDS).body == {
        "model": "far",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(("think", "told"), [(None, "hm"), (True, "hm"), (False, None)])
def test_what_a_model_thinks_is_told_unless_it_is_said_otherwise(ask, upstream, think, told):
    delta = {"content": "Hi.", "reasoning_content": "hm"}
    chunk = {"choices": [{"delta": delta, "finish_reason": "stop"}]}
    upstream.script = streaming(f"data: {json.dumps(chunk)}\n\n".encode(), b"data: [DONE]\n\n")
    message = ask("hi", model="far", stream=False, think=think).json()["message"]
    assert (message["content"], message.get("thinking")) == ("Hi.", told)


def test_another_server_embeds(client, upstream):
    upstream.script = answering({"data": [{"embedding": [1.0]}], "model": "theirs"})
    answer = client.post("/api/embed", json={"model": "far", "input": "a"}).json()
    assert (answer["embeddings"], answer["prompt_eval_count"]) == ([[1.0]], 0)
