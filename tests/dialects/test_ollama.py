"""Ollama's requests become chat completions, and the parts of an answer its lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from jan_server.dialects.chat import (
    Arguments,
    Begun,
    Call,
    Counts,
    Ended,
    Likelihoods,
    Part,
    Text,
    Thought,
    Translated,
    renamed,
)
from jan_server.dialects.ollama.answer import Answer, Making, chat_line, generate_line, moment
from jan_server.dialects.ollama.models import _counted
from jan_server.dialects.ollama.request import chat_request, generate_request
from jan_server.errors import InvalidRequest, ParameterNotSupported
from jan_server.parameters import MAX_COUNT
from jan_server.types.completion import CompletionRequest
from jan_server.types.ollama import GenerateRequest, OllamaChatRequest

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}

SAMPLING = {
    "top_p": 0.5,
    "min_p": 0.1,
    "typical_p": 0.9,
    "seed": 3,
    "repeat_penalty": 1.5,
    "presence_penalty": 1.0,
    "frequency_penalty": -1.0,
    "mirostat": 2,
    "mirostat_tau": 4.0,
    "mirostat_eta": 0.2,
}


def chat(**sent: Any) -> Translated:
    body = {"model": "m:latest", "messages": [USER], **sent}
    return chat_request(msgspec.convert(body, OllamaChatRequest), body)


def generate(**sent: Any) -> Translated:
    body = {"model": "m", "prompt": "hi", **sent}
    return generate_request(msgspec.convert(body, GenerateRequest), body)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({}, {}),
        ({"truncate": False}, {"truncation": None}),
        ({"keep_alive": "5m"}, {"keep_alive": "5m"}),
        ({"tools": [TOOL]}, {"tools": [TOOL]}),
        ({"format": "json"}, {"response_format": {"type": "json_object"}}),
        ({"format": ""}, {}),
        (
            {"format": {"type": "object"}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object"}},
                }
            },
        ),
        ({"think": False}, {"chat_template_kwargs": {"enable_thinking": False}}),
        (
            {"think": "low"},
            {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "low"},
        ),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"logprobs": False, "top_logprobs": 2}, {}),
        (
            {"options": {"temperature": 0, "top_k": 4, "stop": ["a"], "num_ctx": 64, "numa": True}},
            {"temperature": 0, "top_k": 4, "stop": ["a"]},
        ),
        ({"options": {"stop": [], "seed": None}}, {}),
        ({"options": SAMPLING}, SAMPLING),
        (
            {"options": {"num_predict": 7, "repeat_last_n": 0}},
            {"max_tokens": 7, "repeat_last_n": 0},
        ),
        ({"options": {"repeat_penalty": 0}}, {}),
        ({"options": {"repeat_penalty": 1.5}}, {"repeat_penalty": 1.5}),
        (
            {"options": {"num_predict": -1, "repeat_last_n": -1}},
            {"max_tokens": MAX_COUNT, "repeat_last_n": MAX_COUNT},
        ),
        ({"options": {"num_predict": 0, "tfs_z": 1}}, {"max_tokens": MAX_COUNT}),
    ],
)
def test_how_to_answer(sent: Any, expected: Any) -> None:
    whole = {"model": "m", "messages": [USER], "truncation": "auto", **expected}
    assert chat(**sent).sent == {key: value for key, value in whole.items() if value is not None}
    assert chat(**sent).request.model == "m"


def test_a_prompt_is_a_users_message_behind_the_system() -> None:
    found = generate(system="Be brief.")
    assert found.sent["messages"] == [{"role": "system", "content": "Be brief."}, USER]
    assert found.names["$.messages"] == "$.prompt"


def test_a_raw_prompt_is_a_completion_of_text() -> None:
    found = generate(raw=True, options={"num_predict": 3})
    assert (found.sent, found.type) == (
        {"model": "m", "prompt": "hi", "max_tokens": 3},
        CompletionRequest,
    )


@pytest.mark.parametrize(
    ("sent", "instead"),
    [({"context": [1]}, "'messages to /api/chat'"), ({"template": "x"}, "'raw'")],
)
def test_what_does_the_same_is_named(sent: Any, instead: str) -> None:
    with pytest.raises(ParameterNotSupported, match=f"send {instead} instead"):
        generate(**sent)


@pytest.mark.parametrize(
    ("place", "own"),
    [
        ("$.max_tokens", "$.options.num_predict"),
        ("$.stop[0]", "$.options.stop[0]"),
        ("$.top_k", "$.options.top_k"),
        ("$.response_format", "$.format"),
        ("$.response_format.json_schema.schema.type", "$.format.type"),
        ("$.messages[0].content", "$.messages[0].content"),
    ],
)
def test_what_is_wrong_is_told_where_the_request_has_it(place: str, own: str) -> None:
    assert renamed(f"{place}: is wrong.", chat().names) == f"{own}: is wrong."


def call(name: str, **more: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": {"a": 1}}, **more}


def test_a_result_finds_its_call_by_id_by_name_or_by_order() -> None:
    def result(**said: str) -> dict[str, Any]:
        return {"role": "tool", "content": "x", **said}

    messages = [
        USER,
        {
            "role": "assistant",
            "thinking": "hm",
            "tool_calls": [call("f"), call("g"), call("g"), call("h", id="own")],
        },
        result(tool_call_id="own"),
        result(tool_name="g"),
        result(),
        result(),
    ]
    _, calling, *results = chat(messages=messages).sent["messages"]
    ids = [each["id"] for each in calling["tool_calls"]]
    assert ids == ["messages[1]-0", "messages[1]-1", "messages[1]-2", "own"]
    assert calling["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}
    assert (calling["content"], calling["reasoning_content"]) == ("", "hm")
    assert [each["tool_call_id"] for each in results] == ["own", ids[1], ids[0], ids[2]]


@pytest.mark.parametrize(
    ("sent", "error", "param"),
    [
        (
            {"messages": [{**USER, "images": ["AAAA"]}]},
            ParameterNotSupported,
            "$.messages[0].images",
        ),
        ({"messages": [USER, {"role": "tool", "content": "x"}]}, InvalidRequest, "$.messages[1]"),
        ({"format": "yaml"}, InvalidRequest, "$.format"),
        ({"options": {"tfs_z": 0.5}}, ParameterNotSupported, "$.options.tfs_z"),
        ({"shift": False}, ParameterNotSupported, "$.shift"),
    ],
)
def test_what_a_chat_cannot_have_is_named(
    sent: Any, error: type[InvalidRequest], param: str
) -> None:
    with pytest.raises(error) as caught:
        chat(**sent)
    assert (type(caught.value), caught.value.param) == (error, param)


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"suffix": "x"}, "$.suffix"),
        ({"template": "x"}, "$.template"),
        ({"context": [1]}, "$.context"),
        ({"images": ["AAAA"]}, "$.images"),
        ({"shift": False}, "$.shift"),
        ({"width": 8}, "$.width"),
        ({"height": 8}, "$.height"),
        ({"steps": 2}, "$.steps"),
        ({"raw": True, "system": "x"}, "$.system"),
        ({"raw": True, "think": True}, "$.think"),
        ({"raw": True, "logprobs": True}, "$.logprobs"),
    ],
)
def test_what_a_prompt_cannot_have_is_named(sent: Any, param: str) -> None:
    with pytest.raises(ParameterNotSupported) as caught:
        generate(**sent)
    assert caught.value.param == param


# --- answers ---------------------------------------------------------------------------------

COUNTS = Counts(prompt=7, cached=3, answer=4, prompt_seconds=1.0, answer_seconds=0.5)
PARTS: list[Part] = [
    Begun("m", Counts()),
    Thought("hm"),
    Likelihoods([{"token": "Hi"}]),
    Text("Hi "),
    Text("you"),
    Call("c1", "f"),
    Arguments('{"a"'),
    Arguments(":1}"),
    Call("", "g"),
    Arguments("{"),
    Ended("tool_calls", None, COUNTS),
]
TOOK = {
    "total_duration": 2_000_000_000,
    "load_duration": 500_000_000,
    "prompt_eval_count": 7,
    "prompt_eval_duration": 1_000_000_000,
    "eval_count": 4,
    "eval_duration": 500_000_000,
}
CALLS = [
    {"function": {"index": 0, "name": "f", "arguments": {"a": 1}}, "id": "c1"},
    {"function": {"index": 1, "name": "g", "arguments": {}}},
]


def clock() -> Iterator[float]:
    yield from (10.0, 12.0)


def lines(make: Making, **more: Any) -> list[dict[str, Any]]:
    ticks = clock()
    answer = Answer(make, "m:latest", clock=lambda: next(ticks), **more)
    told = [msgspec.to_builtins(line) for part in PARTS for line in answer.take(part)]
    assert all(line.pop("created_at").endswith("Z") for line in told)
    assert {line.pop("model") for line in told} == {"m:latest"}
    return told


def reply(**said: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "", **said}


def test_the_lines_of_a_chat() -> None:
    assert lines(chat_line, whole=False) == [
        {"done": False, "message": reply(thinking="hm")},
        {"done": False, "message": reply(content="Hi "), "logprobs": [{"token": "Hi"}]},
        {"done": False, "message": reply(content="you")},
        {"done": False, "message": reply(tool_calls=CALLS[:1])},
        {"done": False, "message": reply(tool_calls=CALLS[1:])},
        {"done": True, "done_reason": "stop", "message": reply(), **TOOK},
    ]


def test_a_whole_chat_is_one_line() -> None:
    assert lines(chat_line, whole=True, thinks=False) == [
        {
            "done": True,
            "done_reason": "stop",
            "message": reply(content="Hi you", tool_calls=CALLS),
            "logprobs": [{"token": "Hi"}],
            **TOOK,
        }
    ]


def test_a_prompts_answer_has_its_text_at_the_top() -> None:
    [whole] = lines(generate_line, whole=True)
    assert (whole["response"], whole["thinking"]) == ("Hi you", "hm")


def test_an_answer_that_was_cut_off_says_so() -> None:
    answer = Answer(chat_line, "m", whole=True)
    [line] = answer.take(Ended("length", None, COUNTS))
    assert line.done_reason == "length"


def test_times_are_as_ollama_writes_them() -> None:
    assert moment(1_700_000_000) == "2023-11-14T22:13:20.000000Z"


@pytest.mark.parametrize(
    ("count", "text"),
    [(12, "12"), (1500, "1.5K"), (134_515_008, "134.5M"), (7_000_000_000, "7.0B")],
)
def test_parameters_are_counted_roughly(count: int, text: str) -> None:
    assert _counted(count) == text
