"""Requests of the Responses API become chat completions, and the parts of an answer its events."""

from __future__ import annotations

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
from jan_server.dialects.responses.answer import Answer
from jan_server.dialects.responses.request import chat_request, own_items, shown
from jan_server.errors import (
    EngineDied,
    InvalidRequest,
    JanError,
    ParameterNotSupported,
    QueueFull,
)
from jan_server.types.response import CreateResponse, Response

USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {}}
FORM = {"name": "a", "schema": SCHEMA, "description": "An answer.", "strict": True}


def translated(**sent: Any) -> Translated:
    body = {"model": "m", "input": "hi", **sent}
    asked = msgspec.convert(body, CreateResponse)
    return chat_request(asked, body, own_items(asked))


def calling(id: str, name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("input", "messages"),
    [
        ("hi", [USER]),
        ([USER], [USER]),
        (
            [
                {"type": "message", "role": "developer", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "h"},
                        {"type": "input_text", "text": "i"},
                    ],
                },
                {
                    "type": "reasoning",
                    "id": "rs",
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": "hm"}],
                },
                {"role": "assistant", "content": [{"type": "output_text", "text": "Wait."}]},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "function_call", "call_id": "c2", "name": "g", "arguments": '{"a":1}'},
                {"type": "function_call_output", "call_id": "c1", "output": "one"},
                {
                    "type": "function_call_output",
                    "call_id": "c2",
                    "output": [{"type": "input_text", "text": "two"}],
                },
                {"role": "assistant", "content": "Done."},
                {"role": "assistant", "content": "Really."},
                {"role": "user", "content": "Thanks."},
            ],
            [
                {"role": "developer", "content": "Be brief."},
                USER,
                {
                    "role": "assistant",
                    "content": "Wait.",
                    "reasoning_content": "hm",
                    "tool_calls": [calling("c1"), calling("c2", "g", '{"a":1}')],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "one"},
                {"role": "tool", "tool_call_id": "c2", "content": "two"},
                {"role": "assistant", "content": "Done."},
                {"role": "assistant", "content": "Really."},
                {"role": "user", "content": "Thanks."},
            ],
        ),
        (
            [
                USER,
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            ],
            [
                USER,
                {
                    "role": "assistant",
                    "content": "",
                    "reasoning_content": "hm",
                    "tool_calls": [calling("c")],
                },
            ],
        ),
        (
            [
                USER,
                {"type": "reasoning", "summary": [{"type": "text", "text": "hm"}]},
                {"type": "reasoning", "summary": [{"type": "text", "text": "so"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"role": "assistant", "content": "Wait."},
            ],
            [
                USER,
                {"role": "assistant", "content": "", "reasoning_content": "hm"},
                {
                    "role": "assistant",
                    "content": "",
                    "reasoning_content": "so",
                    "tool_calls": [calling("c")],
                },
                {"role": "assistant", "content": "Wait."},
            ],
        ),
    ],
)
def test_items_are_messages(input: Any, messages: Any) -> None:
    assert translated(input=input).sent["messages"] == messages


@pytest.mark.parametrize(
    ("sent", "chat"),
    [
        ({}, {}),
        (
            {"temperature": 0, "top_p": 0.5, "max_output_tokens": 7},
            {"temperature": 0, "top_p": 0.5, "max_tokens": 7},
        ),
        (
            {"truncation": "auto", "parallel_tool_calls": False, "user": "ada"},
            {"truncation": "auto", "parallel_tool_calls": False, "user": "ada"},
        ),
        (
            {
                "safety_identifier": "ada",
                "background": False,
                "metadata": {"a": "b"},
                "service_tier": "auto",
            },
            {"safety_identifier": "ada"},
        ),
        (
            {"reasoning": {"effort": "low", "summary": "auto"}, "text": {"verbosity": "medium"}},
            {"reasoning_effort": "low"},
        ),
        ({"text": {"format": {"type": "text"}}}, {}),
        (
            {"text": {"format": {"type": "json_object"}}},
            {"response_format": {"type": "json_object"}},
        ),
        (
            {"text": {"format": {"type": "json_schema", **FORM}}},
            {"response_format": {"type": "json_schema", "json_schema": FORM}},
        ),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "name": "f",
                        "parameters": SCHEMA,
                        "strict": True,
                        "description": None,
                    }
                ]
            },
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "f", "parameters": SCHEMA, "strict": True},
                    }
                ]
            },
        ),
        (
            {"tools": [{"type": "function", "name": "f", "description": "Adds."}]},
            {"tools": [{"type": "function", "function": {"name": "f", "description": "Adds."}}]},
        ),
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        (
            {"tool_choice": {"type": "function", "name": "f"}},
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        ),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "auto",
                    "tools": [{"type": "function", "name": "f"}],
                }
            },
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "auto",
                        "tools": [{"type": "function", "function": {"name": "f"}}],
                    },
                }
            },
        ),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True, "top_logprobs": 0}),
        ({"include": ["reasoning.encrypted_content"], "top_logprobs": 0}, {}),
    ],
)
def test_how_to_answer(sent: Any, chat: Any) -> None:
    expected = {"model": "m", "messages": [USER], **chat}
    assert translated(**sent).sent == expected
    assert translated(**sent).request.model == "m"


def test_instructions_are_the_system_message() -> None:
    found = translated(instructions="Be brief.")
    assert found.sent["messages"] == [{"role": "system", "content": "Be brief."}, USER]
    assert found.names["$.messages[0]"] == "$.instructions"
    assert found.names["$.messages[1]"] == "$.input"


CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
IMAGE = {"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}


@pytest.mark.parametrize(
    ("sent", "error", "param"),
    [
        ({"input": None}, InvalidRequest, "$.input"),
        ({"input": []}, InvalidRequest, "$.input"),
        ({"input": [IMAGE]}, ParameterNotSupported, "$.input[0].content[0]"),
        (
            {"input": [{"type": "item_reference", "id": "x"}]},
            ParameterNotSupported,
            "$.input[0].type",
        ),
        ({"input": [{"content": "x"}]}, InvalidRequest, "$.input[0].role"),
        ({"input": [{"role": "user"}]}, InvalidRequest, "$.input[0].content"),
        (
            {"input": [{"type": "function_call_output", "call_id": "c"}]},
            InvalidRequest,
            "$.input[0].output",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            InvalidRequest,
            "$.input[0].content[0].text",
        ),
        (
            {"input": [{"type": "function_call_output", "output": "x"}]},
            InvalidRequest,
            "$.input[0].call_id",
        ),
        *(
            (
                {"input": [{name: value for name, value in CALL.items() if name != missing}]},
                InvalidRequest,
                f"$.input[0].{missing}",
            )
            for missing in ("call_id", "name", "arguments")
        ),
        ({"tools": [{"type": "web_search"}]}, ParameterNotSupported, "$.tools[0].type"),
        ({"tools": [{"type": "function"}]}, InvalidRequest, "$.tools[0].name"),
        ({"tool_choice": {"type": "file_search"}}, ParameterNotSupported, "$.tool_choice.type"),
        ({"tool_choice": {"type": "function"}}, InvalidRequest, "$.tool_choice.name"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto"}},
            InvalidRequest,
            "$.tool_choice.tools",
        ),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "tools": [{"type": "function", "name": "f"}],
                }
            },
            InvalidRequest,
            "$.tool_choice.mode",
        ),
        ({"include": ["file_search_call.results"]}, ParameterNotSupported, "$.include[0]"),
        ({"text": {"verbosity": "low"}}, ParameterNotSupported, "$.text.verbosity"),
        ({"text": {"verbosity": "high"}}, ParameterNotSupported, "$.text.verbosity"),
        ({"text": {"format": {"type": "json_schema"}}}, InvalidRequest, "$.text.format.name"),
        (
            {"text": {"format": {"type": "json_schema", "name": "a"}}},
            InvalidRequest,
            "$.text.format.schema",
        ),
        ({"background": True}, ParameterNotSupported, "$.background"),
        ({"conversation": "c"}, ParameterNotSupported, "$.conversation"),
        ({"prompt": {"id": "p"}}, ParameterNotSupported, "$.prompt"),
        ({"context_management": [{}]}, ParameterNotSupported, "$.context_management"),
        ({"max_tool_calls": 1}, ParameterNotSupported, "$.max_tool_calls"),
        ({"moderation": {}}, ParameterNotSupported, "$.moderation"),
    ],
)
def test_what_is_refused_is_named(sent: Any, error: type[InvalidRequest], param: str) -> None:
    with pytest.raises(error) as caught:
        translated(**sent)
    assert (type(caught.value), caught.value.param) == (error, param)


@pytest.mark.parametrize(
    ("sent", "instead"),
    [
        ({"conversation": "c"}, "'previous_response_id'"),
        ({"prompt": {"id": "p"}}, "'instructions'"),
    ],
)
def test_what_does_the_same_is_named(sent: Any, instead: str) -> None:
    with pytest.raises(ParameterNotSupported, match=f"send {instead} instead"):
        translated(**sent)


@pytest.mark.parametrize(
    ("place", "own"),
    [
        ("$.max_tokens", "$.max_output_tokens"),
        ("$.messages", "$.input"),
        ("$.tools[0].function.parameters", "$.tools[0].parameters"),
        ("$.tool_choice.function.name", "$.tool_choice.name"),
        ("$.tool_choice.allowed_tools.mode", "$.tool_choice.mode"),
        ("$.response_format", "$.text.format"),
        ("$.response_format.json_schema.schema.type", "$.text.format.schema.type"),
    ],
)
def test_what_is_wrong_is_told_where_the_request_has_it(place: str, own: str) -> None:
    tool = {"type": "function", "name": "f"}
    assert renamed(f"{place}: is wrong.", translated(tools=[tool]).names) == f"{own}: is wrong."


def test_a_response_shows_what_was_asked() -> None:
    asked = msgspec.convert(
        {"input": "hi", "temperature": 0, "top_p": None, "reasoning": {"effort": "low"}},
        CreateResponse,
    )
    assert shown(asked) == {"temperature": 0.0, "reasoning": {"effort": "low"}}


def test_of_a_response_all_is_shown_that_says_how_to_answer() -> None:
    said = {
        "instructions": "Be brief.",
        "max_output_tokens": 7,
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low"},
        "temperature": 0.5,
        "text": {"format": {"type": "json_object"}},
        "tool_choice": "required",
        "tools": [{"type": "function", "name": "f"}],
        "top_logprobs": 2,
        "top_p": 0.5,
        "truncation": "auto",
        "user": "ada",
        "metadata": {"a": "b"},
    }
    asked = msgspec.convert({"model": "m", "input": "hi", "store": False, **said}, CreateResponse)
    assert shown(asked) == said


# --- answers ---------------------------------------------------------------------------------

COUNTS = Counts(prompt=7, cached=3, answer=4, thought=1)
PARTS: list[Part] = [
    Begun("m", Counts()),
    Thought("h"),
    Thought("m"),
    Likelihoods([{"token": "Hi"}]),
    Text("Hi "),
    Text("you"),
    Call("c1", "f"),
    Arguments('{"a"'),
    Arguments(":1}"),
    Ended("tool_calls", None, COUNTS),
]


def answer() -> Answer:
    return Answer(Response(id="resp_x", created_at=1, status="in_progress", model="m"))


def names(told: list[Any]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in told]


def events(one: Answer, *parts: Part) -> list[Any]:
    return [msgspec.to_builtins(event) for part in parts for event in one.take(part)]


def test_the_events_of_an_answer_in_openais_order() -> None:
    one = answer()
    told = events(one, *PARTS)
    assert names(told) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert told[0]["response"]["output"] == []
    assert told[10]["part"] == {
        "type": "output_text",
        "text": "",
        "annotations": [],
        "logprobs": [],
    }
    assert (told[11]["delta"], told[11]["logprobs"]) == ("Hi ", [{"token": "Hi"}])
    assert [event["output_index"] for event in told[2:21]] == [0] * 7 + [1] * 7 + [2] * 5
    thought, message, call = told[-1]["response"]["output"]
    assert [item["id"][:3] for item in (thought, message, call)] == ["rs_", "msg", "fc_"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "hm"}]
    [said] = message["content"]
    assert (said["text"], said["logprobs"]) == ("Hi you", [{"token": "Hi"}])
    assert (call["call_id"], call["name"], call["arguments"]) == ("c1", "f", '{"a":1}')
    assert {item["status"] for item in (thought, message, call)} == {"completed"}
    assert told[-1]["response"]["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 11,
    }


def test_an_answer_that_was_cut_off_is_incomplete() -> None:
    told = events(answer(), Begun("m", Counts()), Text("Hi"), Ended("length", None, COUNTS))
    response = told[-1]["response"]
    assert (names(told)[-1], response["status"]) == ("incomplete", "incomplete")
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EngineDied("gone"), "server_error"),
        (QueueFull("m", 3, retry_after=1), "rate_limit_exceeded"),
        (InvalidRequest("no"), "invalid_prompt"),
    ],
)
def test_what_cannot_go_on_has_failed_and_keeps_what_was_said(error: JanError, code: str) -> None:
    one = answer()
    said = events(one, Begun("m", Counts()), Text("Hi"))
    told = [msgspec.to_builtins(event) for event in one.fail(error)]
    assert names(told) == ["output_text.done", "content_part.done", "output_item.done", "failed"]
    assert told[0]["sequence_number"] == len(said)
    response = told[-1]["response"]
    assert response["error"] == {"code": code, "message": error.message}
    assert response["output"][0]["status"] == "incomplete"


def test_what_fails_before_it_says_anything_has_no_output() -> None:
    one = answer()
    events(one, Begun("m", Counts()))
    assert names([msgspec.to_builtins(event) for event in one.fail(EngineDied("x"))]) == ["failed"]
