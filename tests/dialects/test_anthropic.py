"""Anthropic's requests become chat completions, and the parts of an answer its events."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from jan_server.dialects.anthropic.answer import Answer, error_body
from jan_server.dialects.anthropic.request import chat_request, shows_thinking
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
from jan_server.engines.base import Queued
from jan_server.errors import (
    BodyTooLarge,
    EngineDied,
    EngineFailed,
    Forbidden,
    InvalidRequest,
    JanError,
    NotFound,
    ParameterNotSupported,
    PreconditionFailed,
    QueueFull,
    RemoteTimeout,
    Unauthorized,
)
from jan_server.types.anthropic import MessagesRequest

USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "description": "What it is.", "input_schema": SCHEMA}


def translated(**sent: Any) -> Translated:
    body = {"model": "m", "max_tokens": 9, "messages": [USER], **sent}
    return chat_request(msgspec.convert(body, MessagesRequest), body)


def text(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


@pytest.mark.parametrize(
    ("messages", "chat"),
    [
        ([USER], [USER]),
        ([{"role": "user", "content": text("a", "b")}], [{"role": "user", "content": "a\nb"}]),
        (
            [
                USER,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "x"},
                        {"type": "redacted_thinking", "data": "y"},
                        *text("Let me look."),
                        {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Ü"}},
                        {"type": "tool_use", "id": "t2", "name": "weather", "input": {}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t1", "content": text("sun", "hot")},
                        {"type": "tool_result", "tool_use_id": "t2", "is_error": True},
                        *text("Thanks."),
                    ],
                },
            ],
            [
                USER,
                {
                    "role": "assistant",
                    "content": "Let me look.",
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {
                            "id": "t1",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city":"Ü"}'},
                        },
                        {
                            "id": "t2",
                            "type": "function",
                            "function": {"name": "weather", "arguments": "{}"},
                        },
                    ],
                },
                {"role": "tool", "tool_call_id": "t1", "content": "sun\nhot"},
                {"role": "tool", "tool_call_id": "t2", "content": "Error: "},
                {"role": "user", "content": "Thanks."},
            ],
        ),
        (
            [
                {
                    "role": "user",
                    "content": [
                        *text("first"),
                        {"type": "tool_result", "tool_use_id": "t1", "content": "sun"},
                    ],
                }
            ],
            [
                {"role": "user", "content": "first"},
                {"role": "tool", "tool_call_id": "t1", "content": "sun"},
            ],
        ),
        (
            [{"role": "system", "content": "Be brief."}, USER],
            [{"role": "system", "content": "Be brief."}, USER],
        ),
    ],
)
def test_messages(messages: Any, chat: Any) -> None:
    assert translated(messages=messages).sent["messages"] == chat


@pytest.mark.parametrize(
    ("sent", "chat"),
    [
        ({}, {}),
        (
            {"stop_sequences": ["a"], "temperature": 0, "top_p": 0.5, "top_k": 4},
            {"stop": ["a"], "temperature": 0, "top_p": 0.5, "top_k": 4},
        ),
        ({"stop_sequences": [], "temperature": None, "system": None, "tools": []}, {}),
        ({"metadata": {"user_id": "ada"}}, {"user": "ada"}),
        ({"metadata": {}, "service_tier": "auto", "cache_control": {"type": "ephemeral"}}, {}),
        (
            {
                "tools": [
                    {**WEATHER, "cache_control": {"type": "ephemeral"}},
                    {"name": "rest", "type": "custom", "input_schema": {}, "strict": True},
                ]
            },
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "weather",
                            "description": "What it is.",
                            "parameters": SCHEMA,
                        },
                    },
                    {
                        "type": "function",
                        "function": {"name": "rest", "parameters": {}, "strict": True},
                    },
                ]
            },
        ),
        ({"tool_choice": {"type": "any"}}, {"tool_choice": "required"}),
        ({"tool_choice": {"type": "none"}}, {"tool_choice": "none"}),
        (
            {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
        (
            {"tool_choice": {"type": "tool", "name": "weather"}},
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
        ),
        (
            {
                "tool_choice": {
                    "type": "tool",
                    "name": "weather",
                    "disable_parallel_tool_use": True,
                }
            },
            {
                "tool_choice": {"type": "function", "function": {"name": "weather"}},
                "parallel_tool_calls": False,
            },
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            {"chat_template_kwargs": {"enable_thinking": True}},
        ),
        ({"thinking": {"type": "disabled"}}, {"chat_template_kwargs": {"enable_thinking": False}}),
        ({"mcp_servers": [], "container": None}, {}),
        ({"context_management": {"edits": []}}, {}),
        (
            {
                "output_config": {
                    "effort": "low",
                    "format": {"type": "json_schema", "schema": SCHEMA},
                }
            },
            {
                "reasoning_effort": "low",
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
                },
            },
        ),
    ],
)
def test_how_to_answer(sent: Any, chat: Any) -> None:
    expected = {"model": "m", "messages": [USER], "max_tokens": 9, **chat}
    assert translated(**sent).sent == expected
    assert translated(**sent).request.max_tokens == 9


@pytest.mark.parametrize(
    "system",
    [
        "Be brief.\nBe kind.",
        text("Be brief.", "Be kind."),
        [{"text": "Be brief."}, {"text": "Be kind."}],
    ],
)
def test_the_system_goes_first(system: Any) -> None:
    found = translated(system=system)
    assert found.sent["messages"] == [{"role": "system", "content": "Be brief.\nBe kind."}, USER]
    assert (found.names["$.messages[0]"], found.names["$.messages[1]"]) == (
        "$.system",
        "$.messages[0]",
    )


IMAGE = {"type": "image", "source": {}}


@pytest.mark.parametrize(
    ("sent", "error", "param"),
    [
        (
            {"messages": [{"role": "user", "content": [IMAGE]}]},
            ParameterNotSupported,
            "$.messages[0].content[0]",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "tool_use_id": "t",
                                "content": [*text("a"), IMAGE],
                            }
                        ],
                    }
                ]
            },
            ParameterNotSupported,
            "$.messages[0].content[0].content[1]",
        ),
        (
            {"messages": [USER, {"role": "user", "content": []}]},
            InvalidRequest,
            "$.messages[1].content",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": "I"}]},
            ParameterNotSupported,
            "$.messages[1]",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "tool_use", "id": "t", "name": "f"}]}
                ]
            },
            InvalidRequest,
            "$.messages[0].content[0]",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "t"}]},
                    USER,
                ]
            },
            InvalidRequest,
            "$.messages[0].content[0]",
        ),
        (
            {"tools": [{"type": "web_search_20260209", "name": "web_search"}]},
            ParameterNotSupported,
            "$.tools[0].type",
        ),
        ({"tools": [WEATHER, {"name": "rest"}]}, InvalidRequest, "$.tools[1].input_schema"),
        ({"tool_choice": {"type": "tool"}}, InvalidRequest, "$.tool_choice.name"),
        ({"mcp_servers": [{}]}, ParameterNotSupported, "$.mcp_servers"),
        ({"context_management": {}}, ParameterNotSupported, "$.context_management"),
        ({"diagnostics": {}}, ParameterNotSupported, "$.diagnostics"),
        (
            {"messages": [{"role": "user", "content": [{"type": "document"}]}]},
            ParameterNotSupported,
            "$.messages[0].content[0]",
        ),
    ],
)
def test_what_is_refused_is_named(sent: Any, error: type[InvalidRequest], param: str) -> None:
    with pytest.raises(error) as caught:
        translated(**sent)
    assert (type(caught.value), caught.value.param) == (error, param)


@pytest.mark.parametrize(
    ("place", "own"),
    [
        ("$.stop", "$.stop_sequences"),
        ("$.messages[1].tool_call_id", "$.messages[1].tool_use_id"),
        ("$.tools[0].function.name", "$.tools[0].name"),
        ("$.tools[0].function.parameters.type", "$.tools[0].input_schema.type"),
        ("$.tool_choice.function.name", "$.tool_choice.name"),
        ("$.response_format", "$.output_config.format"),
        ("$.response_format.json_schema.schema", "$.output_config.format.schema"),
    ],
)
def test_what_is_wrong_is_told_where_the_request_has_it(place: str, own: str) -> None:
    names = translated(messages=[USER, USER], tools=[WEATHER]).names
    assert renamed(f"{place}: is wrong.", names) == f"{own}: is wrong."


@pytest.mark.parametrize(
    ("thinking", "shown"),
    [
        (None, False),
        ({"type": "disabled"}, False),
        ({"type": "adaptive"}, True),
        ({"type": "enabled", "budget_tokens": 1024, "display": "summarized"}, True),
        ({"type": "enabled", "budget_tokens": 1024, "display": "omitted"}, False),
    ],
)
def test_what_a_model_thinks_is_shown_to_those_who_ask(thinking: Any, shown: bool) -> None:
    asked = {"max_tokens": 9, "messages": [USER], "thinking": thinking}
    assert shows_thinking(msgspec.convert(asked, MessagesRequest)) is shown


# --- answers ---------------------------------------------------------------------------------

COUNTS = Counts(prompt=7, cached=3, answer=4)
PARTS: list[Part] = [
    Queued(1),
    Begun("m", Counts(prompt=7, cached=3)),
    Thought("h"),
    Thought("m"),
    Likelihoods([]),
    Text("Let "),
    Text("me."),
    Call("t1", "f"),
    Arguments('{"a"'),
    Arguments(":1}"),
    Call("t2", "g"),
    Ended("tool_calls", None, COUNTS),
]


def events(parts: list[Part], *, shows_thinking: bool = True) -> tuple[list[Any], Any]:
    answer = Answer(shows_thinking=shows_thinking)
    told = [msgspec.to_builtins(event) for part in parts for event in answer.take(part)]
    message = msgspec.to_builtins(answer.message)
    assert message.pop("id").startswith("msg_")
    return told, message


def delta(index: int, **said: str) -> dict[str, Any]:
    [(kind, _)] = said.items()
    types = {"partial_json": "input_json_delta"}
    type = types.get(kind, f"{kind}_delta")
    return {"type": "content_block_delta", "index": index, "delta": {"type": type, **said}}


def test_the_events_of_an_answer() -> None:
    told, message = events(PARTS)
    usage = {
        "input_tokens": 4,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 3,
        "output_tokens": 4,
    }
    start = told[0].pop("message")
    assert start.pop("id").startswith("msg_")
    assert start == {
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 0},
    }
    stop = {"type": "content_block_stop"}
    begin = {"type": "content_block_start"}
    assert told == [
        {"type": "message_start"},
        {"type": "ping"},
        {
            **begin,
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        delta(0, thinking="h"),
        delta(0, thinking="m"),
        delta(0, signature=""),
        {**stop, "index": 0},
        {**begin, "index": 1, "content_block": {"type": "text", "text": ""}},
        delta(1, text="Let "),
        delta(1, text="me."),
        {**stop, "index": 1},
        {
            **begin,
            "index": 2,
            "content_block": {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
        },
        delta(2, partial_json='{"a"'),
        delta(2, partial_json=":1}"),
        {**stop, "index": 2},
        {
            **begin,
            "index": 3,
            "content_block": {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
        },
        {**stop, "index": 3},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": usage,
        },
        {"type": "message_stop"},
    ]
    assert message["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "Let me."},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
    ]
    assert (message["stop_reason"], message["usage"]) == ("tool_use", usage)


def test_thoughts_that_nobody_asked_for_are_left_out() -> None:
    _, message = events(PARTS, shows_thinking=False)
    assert [block["type"] for block in message["content"]] == ["text", "tool_use", "tool_use"]


@pytest.mark.parametrize(
    ("end", "reasons"),
    [
        (Ended("stop", None, COUNTS), ("end_turn", None)),
        (Ended("stop", "END", COUNTS), ("stop_sequence", "END")),
        (Ended("length", None, COUNTS), ("max_tokens", None)),
    ],
)
def test_why_an_answer_ended(end: Ended, reasons: tuple[str, str | None]) -> None:
    told, message = events([Begun("m", COUNTS), end])
    assert (message["stop_reason"], message["stop_sequence"]) == reasons
    assert tuple(told[-2]["delta"].values()) == reasons
    assert message["content"] == []


def test_arguments_that_were_cut_off_are_none() -> None:
    cut: list[Part] = [
        Begun("m", COUNTS),
        Call("t", "f"),
        Arguments('{"a'),
        Ended("length", None, COUNTS),
    ]
    _, message = events(cut)
    assert message["content"] == [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]


@pytest.mark.parametrize(
    ("error", "type"),
    [
        (InvalidRequest("no", param="$.x"), "invalid_request_error"),
        (PreconditionFailed("e"), "invalid_request_error"),
        (Forbidden("no"), "permission_error"),
        (NotFound("model", "x"), "not_found_error"),
        (Unauthorized(sent=False), "authentication_error"),
        (BodyTooLarge("no"), "request_too_large"),
        (QueueFull("m", 3, retry_after=1), "rate_limit_error"),
        (RemoteTimeout("no"), "timeout_error"),
        (EngineDied("gone"), "overloaded_error"),
        (EngineFailed("bad"), "api_error"),
    ],
)
def test_errors_are_of_anthropics_types(error: JanError, type: str) -> None:
    assert msgspec.to_builtins(error_body(error)) == {
        "type": "error",
        "error": {"type": type, "message": error.message, "param": error.param, "code": error.code},
        "message": error.message,
    }
