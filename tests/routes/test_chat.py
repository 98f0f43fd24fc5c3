from __future__ import annotations

import json
import logging

import pytest

from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def ask(client, echo):
    """Post a chat; its last message is what the echo engine says back."""

    def post(content="hello there you", **more):
        messages = [{"role": "user", "content": content}]
        return client.post(
            "/v1/chat/completions", json={"model": echo, "messages": messages, **more}
        )

    return post


def events(answer):
    """The JSON of every event of a stream that ended well."""
    *data, done, end = answer.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in data]


def test_an_answer_in_openais_shape(ask):
    answer = ask().json()
    assert answer.pop("id").startswith("chatcmpl-")
    assert answer.pop("created") > 1_700_000_000
    assert answer == {
        "object": "chat.completion",
        "model": "echo",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hello there you", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 3,
            "total_tokens": 6,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
        "system_fingerprint": None,
    }


def test_a_stream_is_the_same_answer_in_pieces(ask):
    answer = ask(stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    chunks = events(answer)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    first, *pieces, last = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert (first, last) == ({"role": "assistant", "content": ""}, {})
    assert pieces[0] == {"content": "hello "}
    assert "".join(piece["content"] for piece in pieces) == "hello there you"
    *reasons, last_reason = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert (set(reasons), last_reason) == ({None}, "stop")
    assert all("usage" not in chunk for chunk in chunks)


def test_the_usage_is_in_a_last_chunk_when_asked_for(ask):
    *chunks, last = events(ask(stream=True, stream_options={"include_usage": True}))
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 6


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_that_is_cut_ends_with_length(ask, name):
    [choice] = ask(**{name: 2}).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("hello there ", "length")


@pytest.mark.parametrize("stop", ["there", ["x", "there"]])
def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(ask, stop):
    [choice] = ask(stop=stop).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("hello ", "stop")


def test_values_of_the_manifest_hold_where_the_request_says_nothing(ask, write):
    manifest = {
        "engine": "echo",
        "settings": {"prompt_template": "{prompt}"},
        "parameters": {"max_tokens": "1", "stop": []},
    }
    write("models/echo/model.json", manifest)
    assert ask().json()["choices"][0]["message"]["content"] == "hello "
    assert ask(max_tokens=2).json()["choices"][0]["message"]["content"] == "hello there "


def test_content_may_be_parts(ask):
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": {"value": "b"}}]
    assert ask(parts).json()["choices"][0]["message"]["content"] == "a b"


def test_the_whole_conversation_goes_through_the_template(client, write):
    write("models/echo/model.json", {"engine": "echo"})
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hi", "name": "ann"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "Bye"},
    ]
    answer = client.post("/v1/chat/completions", json={"model": "echo", "messages": messages})
    assert answer.json()["choices"][0]["message"]["content"] == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "user", "content": "Hi"}], "Be kind. Hi "),
        (
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "Be brief. Hi ",
        ),
    ],
)
def test_the_manifests_system_message_is_said_where_there_is_none(
    client, write, messages, expected
):
    settings = {"prompt_template": "{system_message} {prompt} ", "system_message": "Be kind."}
    write("models/echo/model.json", {"engine": "echo", "settings": settings})
    answer = client.post("/v1/chat/completions", json={"model": "echo", "messages": messages})
    assert answer.json()["choices"][0]["message"]["content"] == expected


def test_the_default_model_is_named_in_the_answer(client, write, data_folder):
    write("models/tiny/model.json", {"settings": {"ctx_len": 64}, "parameters": {"max_tokens": 1}})
    write("models/aaa/model.json", {"engine": "echo"})
    write_tiny_gguf(data_folder / "models/tiny/tiny.gguf")
    body = {"messages": [{"role": "user", "content": "x"}], "model": None}
    assert client.post("/v1/chat/completions", json=body).json()["model"] == "tiny"


def test_the_echo_engine_is_never_chosen_by_itself(client, echo):
    answer = client.post(
        "/v1/chat/completions", json={"messages": [{"role": "user", "content": "x"}]}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_downloaded")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "status", "code", "words"),
    [
        ("nope", 404, "model_not_found", "No model has the id 'nope'"),
        (
            "tinyllama-1.1b",
            404,
            "model_not_downloaded",
            "python -m jan_server pull tinyllama-1.1b",
        ),
        ("odd", 422, "model_cannot_run", "No engine is called 'steam'"),
        ("bare", 404, "model_file_not_found", "put a .gguf into"),
        ("../evil", 400, "invalid_id", "a step in a path"),
        ("a" * 300, 400, "invalid_id", "255 bytes"),
    ],
)
def test_a_model_that_cannot_answer_is_a_status_also_for_streams(
    ask, write, stream, model, status, code, words
):
    write("models/odd/model.json", {"engine": "steam"})
    write("models/bare/model.json", {"engine": "nitro"})
    answer = ask(model=model, stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert words in answer.json()["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_longer_than_the_context_is_a_400_with_both_numbers(ask, write, stream):
    settings = {"prompt_template": "{prompt}", "ctx_len": 8}
    write("models/echo/model.json", {"engine": "echo", "settings": settings})
    answer = ask("word " * 20, stream=stream)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert "20 tokens" in answer.json()["message"]
    assert "holds 8" in answer.json()["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"{}", "$.messages"),
        (b'{"messages": []}', "$.messages"),
        (b'{"messages": "x"}', "$.messages"),
        (b'{"messages": [{"content": "x"}]}', "$.messages[0].role"),
        (b'{"messages": [{"role": "user"}]}', "$.messages[0].content"),
        (b'{"messages": [{"role": "robot", "content": "x"}]}', "$.messages[0].role"),
        (b'{"messages": [{"role": "user", "content": 7}]}', "$.messages[0].content"),
        (b'{"messages": [{"role": "user", "content": null}]}', "$.messages[0].content"),
        (
            b'{"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}]}',
            "$.messages[0].tool_calls",
        ),
        (b'{"model": "a\\u0000", "messages": [{"role": "user", "content": "x"}]}', "$.model"),
    ],
)
def test_a_wrong_conversation_is_a_400_with_its_place(client, body, param):
    answer = client.post("/v1/chat/completions", content=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 3),
        ("temperature", "warm"),
        ("top_p", -0.1),
        ("top_k", -5),
        ("min_p", 2),
        ("repeat_penalty", 0),
        ("presence_penalty", 9),
        ("frequency_penalty", -9),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("stop", 7),
        ("stop", [""]),
        ("seed", "x"),
        ("stream", "yes"),
    ],
)
def test_a_wrong_parameter_is_a_400_that_names_it(ask, name, value):
    answer = ask(**{name: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(f"$.{name}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("logit_bias", {"5": 1}),
        ("response_format", {"type": "json_object"}),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tool_choice", "required"),
        ("grammar", "root ::= x"),
        ("audio", {}),
    ],
)
def test_a_parameter_that_cannot_be_honoured_is_a_400_that_names_it(ask, name, value):
    answer = ask(**{name: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_parameter"
    assert answer.json()["error"]["param"] == f"$.{name}"


def test_an_image_is_a_400_with_its_place(ask):
    answer = ask([{"type": "image_url", "image_url": {"url": "data:,"}}])
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "$.messages[0].content[0]"


@pytest.mark.parametrize(
    "harmless",
    [
        {"n": 1, "logprobs": False, "tools": [], "response_format": {"type": "text"}},
        {"tools": None, "logit_bias": None, "seed": None, "stop": None, "stream_options": None},
        {"user": "me", "store": True, "metadata": {"a": 1}, "service_tier": "auto"},
        {"engine": "nitro", "parallel_tool_calls": True, "safety_identifier": "x"},
        {"max_tokens": 30.0, "cache_prompt": False, "top_k": 5, "min_p": 0.1, "seed": 1},
    ],
)
def test_what_asks_for_nothing_is_accepted(ask, harmless):
    assert ask(**harmless).status_code == 200


def test_an_unknown_parameter_is_ignored_and_logged_once(ask, caplog):
    caplog.set_level(logging.INFO)
    for _ in range(2):
        assert ask(dance=True).status_code == 200
    assert caplog.text.count("'dance' is unknown and ignored") == 1


def test_a_parameter_by_another_name_is_honoured_and_not_called_unknown(ask, caplog):
    caplog.set_level(logging.INFO)
    assert ask(n_predict=1).json()["choices"][0]["message"]["content"] == "hello "
    assert "n_predict" not in caplog.text


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_of_any_type_from_a_local_script_is_read_as_json(client, echo, content_type):
    body = json.dumps({"model": echo, "messages": [{"role": "user", "content": "x"}]})
    headers = {"content-type": content_type} if content_type else {}
    assert client.post("/v1/chat/completions", content=body, headers=headers).status_code == 200


def test_an_engine_that_fails_is_an_error_without_its_prompt(ask):
    answer = ask("a [[fail]]")
    assert answer.status_code == 500
    assert "[[fail]]" not in answer.text


def test_a_stream_that_fails_later_ends_with_an_error_event(ask):
    *data, end = ask("one two [[fail]]", stream=True).text.split("\n\n")
    assert end == ""
    assert json.loads(data[-1].removeprefix("data: "))["error"]["type"] == "server_error"
    assert "[DONE]" not in data
