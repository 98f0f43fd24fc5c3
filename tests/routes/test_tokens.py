"""POST /v1/tokenize, /v1/detokenize and /v1/chat/count_tokens."""

from __future__ import annotations

import pytest

from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def post(client, echo):
    def post(path, **body):
        return client.post(f"/v1{path}", json={"model": echo, **body})

    return post


@pytest.mark.parametrize("name", ["content", "prompt", "text"])
def test_a_text_becomes_tokens_and_they_become_the_text(post, name):
    told = post("/tokenize", **{name: "b a b"}).json()
    assert told == {"tokens": [0, 1, 2], "count": 3, "max_model_len": 2048}
    back = post("/detokenize", tokens=told["tokens"]).json()
    assert back == {"content": "b a b", "prompt": "b a b"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "$.content"),
        ({"content": "x", "prompt": "x"}, "$.content"),
        ({"content": 5}, "$.content"),
        ({"content": "x", "add_special": "yes"}, "$.add_special"),
    ],
)
def test_what_is_no_text_is_a_400(post, body, param):
    answer = post("/tokenize", **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("name", "only"),
    [("parse_special", True), ("with_pieces", False), ("return_token_strs", False)],
)
def test_what_would_change_the_tokens_is_not_ignored(post, name, only):
    assert post("/tokenize", content="a b", **{name: only}).json()["tokens"] == [0, 1]
    answer = post("/tokenize", content="a b", **{name: not only})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (
        400,
        "unsupported_parameter",
        f"$.{name}",
    )


@pytest.mark.parametrize("tokens", ["x", [-1], ["a"], [99]])
def test_what_are_no_tokens_is_a_400(post, tokens):
    assert post("/detokenize", tokens=tokens).status_code == 400


def test_the_prompt_of_a_chat_is_counted_as_it_would_be_answered(client, write):
    write("models/echo/model.json", {"engine": "echo", "settings": {"system_message": "Be brief."}})
    chat = {"model": "echo", "messages": [{"role": "user", "content": "one two"}]}
    told = client.post("/v1/chat/count_tokens", json=chat).json()
    answered = client.post("/v1/chat/completions", json=chat).json()
    count = answered["usage"]["prompt_tokens"]
    assert told == {
        "object": "response.input_tokens",
        "input_tokens": count,
        "count": count,
        "max_model_len": 2048,
    }


def test_a_chat_that_is_too_long_is_counted_whole(client, write):
    """So a client can find out that it is too long, whatever `truncation` would leave out."""
    settings = {"ctx_len": 8, "truncation": "auto", "prompt_template": "{prompt}"}
    write("models/echo/model.json", {"engine": "echo", "settings": settings})
    turns = [{"role": role, "content": "one two"} for role in ("user", "assistant") * 5]
    chat = {"model": "echo", "messages": [*turns, {"role": "user", "content": "three"}]}
    answer = client.post("/v1/chat/completions", json={**chat, "max_tokens": 1}).json()
    assert answer["truncated_messages"] > 0
    for truncation in (None, "auto", "disabled"):
        told = client.post("/v1/chat/count_tokens", json={**chat, "truncation": truncation}).json()
        assert told["count"] > told["max_model_len"] == 8


def test_what_the_template_is_told_is_counted(client, write, data_folder):
    write("models/tiny/model.json", {"settings": {"ctx_len": 128, "cpu_threads": 1}})
    template = (
        "{{ messages[0].content }}{{ mood }}{% if reasoning_effort == 'high' %} x y{% endif %}"
    )
    write_tiny_gguf(data_folder / "models/tiny/tiny.gguf", chat_template=template)

    def count(**more):
        body = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], **more}
        return client.post("/v1/chat/count_tokens", json=body).json()["count"]

    assert count() < count(chat_template_kwargs={"mood": "?"}) < count(reasoning_effort="high")


def test_a_template_knows_the_tokens_that_begin_and_end_a_text(client, write, data_folder):
    write("models/tiny/model.json", {"settings": {"ctx_len": 128, "cpu_threads": 1}})
    template = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"
    write_tiny_gguf(data_folder / "models/tiny/tiny.gguf", chat_template=template)

    def count(path, **body):
        return client.post(f"/v1{path}", json={"model": "tiny", **body}).json()["count"]

    chat = count("/chat/count_tokens", messages=[{"role": "user", "content": "a"}])
    assert chat == count("/tokenize", content="<|im_start|>a<|im_end|>") == 3


def test_a_chat_that_cannot_be_answered_cannot_be_counted(post):
    answer = post("/chat/count_tokens", messages=[{"role": "user"}])
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "$.messages[0].content")
