"""The messages of a request, as chat templates see them."""

from __future__ import annotations

import msgspec
import pytest

from jan_server.completions.turns import read_turns
from jan_server.errors import InvalidRequest, ParameterNotSupported
from jan_server.types.chat import ChatMessage


def turns(*messages):
    return read_turns(msgspec.convert(messages, list[ChatMessage]))


def call(id="call_1", name="get_time", arguments="{}"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


TIME_CALL = {"role": "assistant", "content": None, "tool_calls": [call()]}


@pytest.mark.parametrize(
    ("message", "turn"),
    [
        ({"role": "user", "content": "hi"}, {"role": "user", "content": "hi"}),
        ({"role": "developer", "content": "hi"}, {"role": "system", "content": "hi"}),
        ({"role": "user", "content": ""}, {"role": "user", "content": ""}),
        ({"role": "user", "name": None, "content": "hi"}, {"role": "user", "content": "hi"}),
        ({"role": "user", "content": []}, {"role": "user", "content": ""}),
        ({"role": "assistant", "content": None}, {"role": "assistant", "content": ""}),
        (
            {"role": "user", "name": "Ada", "content": "hi"},
            {"role": "user", "content": "hi", "name": "Ada"},
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": t} for t in ("a", "b")]},
            {"role": "user", "content": "ab"},
        ),
        (
            {"role": "assistant", "content": "4", "reasoning_content": "2 and 2"},
            {"role": "assistant", "content": "4", "reasoning_content": "2 and 2"},
        ),
    ],
)
def test_a_message_is_a_turn(message, turn):
    assert turns(message) == [turn]


@pytest.mark.parametrize("arguments", ["{}", "", " { } "])
def test_no_arguments_are_an_empty_object(arguments):
    said = {"role": "assistant", "tool_calls": [call(arguments=arguments)]}
    assert turns(said)[0]["tool_calls"][0]["function"]["arguments"] == {}


def test_calls_have_objects_as_arguments_and_results_the_name_of_their_tool():
    said = {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [call(), call("call_2", "get_weather", '{"city": "Rome", "days": [1]}')],
    }
    results = [
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "sun"}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "noon", "name": "clock"},
    ]
    assert turns({"role": "user", "content": "?"}, said, *results) == [
        {"role": "user", "content": "?"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_time", "arguments": {}},
                },
                {
                    "id": "call_2",
                    "type": "function",
                    "function": {
                        "name": "get_weather",
                        "arguments": {"city": "Rome", "days": [1]},
                    },
                },
            ],
        },
        {"role": "tool", "content": "sun", "tool_call_id": "call_2", "name": "get_weather"},
        {"role": "tool", "content": "noon", "tool_call_id": "call_1", "name": "clock"},
    ]


IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}


@pytest.mark.parametrize(
    ("messages", "error", "path"),
    [
        ([{"role": "user"}], InvalidRequest, "$.messages[0].content"),
        ([{"role": "user", "content": None}], InvalidRequest, "$.messages[0].content"),
        ([{"role": "assistant"}], InvalidRequest, "$.messages[0].content"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}],
            ParameterNotSupported,
            "$.messages[0].content[1]",
        ),
        (
            [{"role": "assistant", "content": "", "function_call": {"name": "f"}}],
            ParameterNotSupported,
            "$.messages[0].function_call",
        ),
        (
            [{"role": "user", "content": "", "tool_calls": [call()]}],
            InvalidRequest,
            "$.messages[0].tool_calls",
        ),
        *(
            (
                [{"role": "assistant", "tool_calls": [call(), call(arguments=arguments)]}],
                InvalidRequest,
                "$.messages[0].tool_calls[1].function.arguments",
            )
            for arguments in ("{", "[]", "null", "[" * 100_000)
        ),
        (
            [TIME_CALL, {"role": "tool", "content": "noon"}],
            InvalidRequest,
            "$.messages[1].tool_call_id",
        ),
        (
            [TIME_CALL, {"role": "tool", "content": "noon", "tool_call_id": "call_2"}],
            InvalidRequest,
            "$.messages[1].tool_call_id",
        ),
        (
            [{"role": "tool", "content": "noon", "tool_call_id": "call_1"}, TIME_CALL],
            InvalidRequest,
            "$.messages[0].tool_call_id",
        ),
        (
            [TIME_CALL, {"role": "tool", "tool_call_id": "call_1"}],
            InvalidRequest,
            "$.messages[1].content",
        ),
    ],
)
def test_what_is_wrong_is_named(messages, error, path):
    with pytest.raises(error) as raised:
        turns(*messages)
    assert raised.value.param == path
    assert path in raised.value.message
