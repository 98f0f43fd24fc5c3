"""Anthropic's Messages over the wire: streams, errors in its form, other servers' models."""

from __future__ import annotations

import json
import logging

import pytest
from starlette.testclient import TestClient

from jan_server.app import create_app
from jan_server.settings import Settings
from tests.conftest import BASE_URL, tree
from tests.remote.upstream import SECONDS, answering, running, streaming

PATHS = ("/v1/messages", "/v1/messages/count_tokens")


@pytest.fixture
def ask(client, echo):
    def post(content="hello there you", *, path="/v1/messages", **more):
        messages = [{"role": "user", "content": content}]
        body = {"model": echo, "max_tokens": 50, "messages": messages, **more}
        return client.post(path, json=body)

    return post


def events(answer):
    """Each event's name and data; comments are left out."""
    *parts, end = answer.text.split("\n\n")
    assert end == ""
    found = []
    for part in parts:
        if not part.startswith(":"):
            name, data = part.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_an_answer_in_anthropics_shape(ask):
    answer = ask().json()
    assert answer.pop("id").startswith("msg_")
    assert answer == {
        "type": "message",
        "role": "assistant",
        "model": "echo",
        "content": [{"type": "text", "text": "hello there you"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 3,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 3,
        },
    }


def test_a_stream_is_the_same_answer_in_events(ask):
    answer = ask(stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer)
    assert all(name == data["type"] for name, data in told)
    assert [name for name, _ in told[:3]] == ["message_start", "ping", "content_block_start"]
    assert told[0][1]["message"]["usage"]["input_tokens"] == 3
    said = "".join(data["delta"]["text"] for name, data in told if name == "content_block_delta")
    assert said == "hello there you"
    [stop, delta, end] = told[-3:]
    assert (stop[0], end[0]) == ("content_block_stop", "message_stop")
    assert delta[1]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert delta[1]["usage"]["output_tokens"] == 3


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_sequence_is_told(ask, stream):
    answer = ask(stop_sequences=["x", "there"], stream=stream)
    delta = events(answer)[-2][1]["delta"] if stream else answer.json()
    assert (delta["stop_reason"], delta["stop_sequence"]) == ("stop_sequence", "there")


def test_an_answer_that_is_too_long_is_cut_off(ask):
    answer = ask(max_tokens=2).json()
    assert (answer["content"][0]["text"], answer["stop_reason"]) == ("hello there ", "max_tokens")


def test_what_is_cached_is_counted_apart(ask):
    ask("one two three")
    usage = ask("one two four").json()["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (1, 2)


def test_a_prompt_counts_as_its_answer_says(ask):
    counted = ask(path="/v1/messages/count_tokens", system="Be brief.")
    assert counted.json() == {"input_tokens": 5}


@pytest.mark.parametrize("name", ["add", "mcp__calculator__".ljust(128, "x")])
def test_a_call_is_a_block_whose_input_is_an_object(ask, name):
    call = f'<tool_call>\n{{"name": "{name}", "arguments": {{"a": 1}}}}\n</tool_call>'
    tool = {"name": name, "input_schema": {"type": "object"}}
    answer = ask(call, tools=[tool], max_tokens=400).json()
    [block] = [block for block in answer["content"] if block["type"] == "tool_use"]
    assert (block["name"], block["input"]) == (name, {"a": 1})
    assert answer["stop_reason"] == "tool_use"


def test_nothing_is_kept(ask, data_folder):
    before = tree(data_folder)
    assert ask().status_code == 200
    assert tree(data_folder) == before


# --- errors ----------------------------------------------------------------------------------


IMAGE = {"type": "image", "source": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t"}
ARRAY = {"name": "a", "input_schema": {"type": "array"}}


def said(*blocks):
    return {"messages": [{"role": "user", "content": blocks}]}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("more", "status", "type", "param"),
    [
        ({"model": "nope"}, 404, "not_found_error", None),
        ({"messages": []}, 400, "invalid_request_error", "$.messages"),
        (said(), 400, "invalid_request_error", "$.messages[0].content"),
        (said(IMAGE), 400, "invalid_request_error", "$.messages[0].content[0]"),
        (said({"type": "x"}), 400, "invalid_request_error", "$.messages[0].content[0].type"),
        (said(RESULT), 400, "invalid_request_error", "$.messages[0].content[0].tool_use_id"),
        ({"tools": [ARRAY]}, 400, "invalid_request_error", "$.tools[0].input_schema"),
        ({"tool_choice": {"type": "any"}}, 400, "invalid_request_error", "$.tool_choice"),
        ({"container": "c"}, 400, "invalid_request_error", "$.container"),
        ({"thread": {"type": "create"}}, 400, "invalid_request_error", "$.thread"),
    ],
)
def test_errors_have_anthropics_form_and_name_its_fields(ask, path, more, status, type, param):
    answer = ask(path=path, **more)
    body = answer.json()
    assert (answer.status_code, body["type"], body["error"]["type"]) == (status, "error", type)
    assert body["error"]["param"] == param
    assert body["error"]["message"] == body["message"]
    if param:
        assert param.removeprefix("$.") in body["message"]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"max_tokens": 0}, "$.max_tokens"),
        ({"stop_sequences": ["x"] * 17}, "$.stop_sequences"),
        ({"temperature": 1.5}, "$.temperature"),
    ],
)
def test_a_wrong_value_is_named(ask, more, param):
    assert ask(**more).json()["error"]["param"] == param


def test_max_tokens_is_needed(client, echo):
    body = {"model": echo, "messages": [{"role": "user", "content": "hi"}]}
    answer = client.post("/v1/messages", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "$.max_tokens")


def test_a_prompt_that_is_too_long_is_a_400(ask):
    answer = ask("word " * 3000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_in_the_middle_is_a_status_or_a_last_event(ask, stream):
    answer = ask("[[slow 0.2]] hello [[fail]]", stream=stream)
    body = events(answer)[-1][1] if stream else answer.json()
    assert answer.status_code == (200 if stream else 500)
    assert (body["type"], body["error"]["type"]) == ("error", "api_error")


def test_an_unknown_parameter_is_ignored_and_logged_once(ask, caplog):
    caplog.set_level(logging.INFO, "jan_server.completions.fields")
    assert ask(made_up_by_this_test=1).status_code == 200
    assert ask(made_up_by_this_test=1).status_code == 200
    assert caplog.text.count("made_up_by_this_test") == 1


def test_the_key_is_taken_as_anthropics_clients_send_it(data_folder, echo):
    settings = Settings(data_folder=data_folder, fsync=False, watch="off", api_key="secret")
    body = {"model": echo, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        keyed = {"x-api-key": "secret", "anthropic-version": "2023-06-01"}
        assert client.post("/v1/messages", json=body, headers=keyed).status_code == 200
        refused = client.post("/v1/messages", json=body, headers={"x-api-key": "other"})
    assert refused.status_code == 401
    assert refused.json()["error"]["type"] == "authentication_error"


# --- models that another server answers ------------------------------------------------------

THEIRS = [
    {"choices": [{"delta": {"role": "assistant", "content": None, "reasoning_content": "hm"}}]},
    {"choices": [{"delta": {"content": "Hi."}}]},
    {"choices": [{"delta": {}, "finish_reason": "length"}]},
    {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}},
]


@pytest.fixture
def upstream(write):
    with running() as upstream:
        write("models/far/model.json", {"engine": "openai", "settings": {"full_url": upstream.url}})
        yield upstream


@pytest.mark.parametrize("stream", [False, True])
def test_another_server_is_asked_for_a_chat_completion(ask, upstream, stream):
    lines = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in THEIRS]
    upstream.script = streaming(*lines, b"data: [DONE]\n\n")
    thinking = {"type": "enabled", "budget_tokens": 1024}
    answer = ask("hi", model="far", stream=stream, thinking=thinking, system="Be brief.")
    seen = upstream.seen.get(timeout=SECONDS)
    assert seen.body == {
        "model": "far",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
        ],
        "max_tokens": 50,
        "stream": True,
        "stream_options": {"include_usage": True},
        "chat_template_kwargs": {"enable_thinking": True},
    }
    if stream:
        assert events(answer)[-2][1]["usage"]["input_tokens"] == 5
        return
    body = answer.json()
    assert (body["model"], body["stop_reason"]) == ("far", "max_tokens")
    assert [block.get("thinking") or block["text"] for block in body["content"]] == ["hm", "Hi."]
    assert (body["usage"]["input_tokens"], body["usage"]["output_tokens"]) == (5, 2)


def test_what_a_model_thinks_is_told_to_nobody_unasked(ask, upstream):
    lines = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in THEIRS]
    upstream.script = streaming(*lines, b"data: [DONE]\n\n")
    assert ask("hi", model="far").json()["content"] == [{"type": "text", "text": "Hi."}]


def test_what_another_server_refuses_is_told_in_anthropics_form(ask, upstream):
    upstream.script = answering({"error": {"message": "no such model"}}, status=404)
    body = ask("hi", model="far").json()
    assert (body["type"], body["error"]["type"], body["message"]) == (
        "error",
        "not_found_error",
        "no such model",
    )


def test_the_tokens_of_another_servers_model_cannot_be_counted(ask, upstream):
    answer = ask("hi", model="far", path="/v1/messages/count_tokens")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "model_cannot_run")
