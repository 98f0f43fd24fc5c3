"""Chunks, ours or another server's, are read as parts; errors name the fields that were sent."""

from __future__ import annotations

from typing import Any

import pytest

from jan_server.dialects.chat import (
    Arguments,
    Begun,
    Call,
    Counts,
    Ended,
    Likelihoods,
    Part,
    Reader,
    Text,
    Thought,
    naming,
    renamed,
)
from jan_server.errors import ContextLengthExceeded, InvalidRequest
from jan_server.types.chat import ChatCompletionChunk, ChunkChoice, Delta
from jan_server.types.usage import PromptTokensDetails, Timings, Usage


def read(*chunks: Any) -> list[Part]:
    reader = Reader()
    return [part for chunk in chunks for part in reader.take(chunk)] + [reader.end()]


def choice(delta: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [{"delta": delta, **more}]}


def test_our_own_chunks_are_read_with_their_usage_and_times() -> None:
    def chunk(delta: Delta, tokens: int, **more: Any) -> ChatCompletionChunk:
        usage = Usage(
            prompt_tokens=5,
            completion_tokens=tokens,
            total_tokens=5 + tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=2),
        )
        said = [ChunkChoice(delta=delta, **more)]
        return ChatCompletionChunk(id="c", created=1, model="m", choices=said, usage=usage)

    last = chunk(Delta(), 1, finish_reason="stop", stop_reason="END")
    last.timings = Timings(
        cache_n=2,
        prompt_n=3,
        prompt_ms=1500.0,
        prompt_per_second=2.0,
        predicted_n=1,
        predicted_ms=250.0,
        predicted_per_second=4.0,
    )
    assert read(
        chunk(Delta(role="assistant", content=""), 0), chunk(Delta(content="Hi"), 1), last
    ) == [
        Begun("m", Counts(prompt=5, cached=2)),
        Text("Hi"),
        Ended("stop", "END", Counts(5, 2, 1, 0, 1.5, 0.25)),
    ]


def test_what_other_servers_leave_out_or_set_to_null_is_no_hindrance() -> None:
    assert read(
        {"model": "far", "choices": [], "usage": None},
        choice({"role": "assistant", "content": None, "tool_calls": None}, logprobs=None),
        choice({"reasoning": "hm"}),
        choice({"reasoning_content": "hm"}),
        choice({"content": "Hi"}, stop_reason=7),
        choice(None, finish_reason="content_filter"),
        {"usage": {"prompt_tokens": 3, "completion_tokens": None, "prompt_tokens_details": None}},
    ) == [
        Begun("far", Counts()),
        Thought("hm"),
        Thought("hm"),
        Text("Hi"),
        Ended("stop", None, Counts(prompt=3)),
    ]


def test_a_stream_of_nothing_has_an_end() -> None:
    assert read() == [Ended("stop", None, Counts())]


def test_calls_begin_once_and_their_arguments_follow() -> None:
    def call(index: int | None, **function: Any) -> dict[str, Any]:
        return {"index": index, "id": function.pop("id", None), "function": function or None}

    assert read(
        choice({"tool_calls": [call(0, id="a", name="f", arguments="")]}),
        choice({"tool_calls": [call(0, arguments='{"x"')]}),
        choice({"tool_calls": [call(None, arguments=":1}"), call(1, id="b", name="g")]}),
        choice({}, finish_reason="stop"),
    )[1:] == [
        Call("a", "f"),
        Arguments('{"x"'),
        Arguments(":1}"),
        Call("b", "g"),
        Ended("tool_calls", None, Counts()),
    ]


def test_an_answer_that_met_its_stop_string_ended_by_that_also_after_a_call() -> None:
    calls = [{"index": 0, "id": "a", "function": {"name": "f"}}]
    parts = read(choice({"tool_calls": calls}, finish_reason="stop", stop_reason="END"))
    assert parts[-1] == Ended("stop", "END", Counts())


@pytest.mark.parametrize(("details", "thought"), [({"reasoning_tokens": 5}, 5), ({}, 3), (None, 3)])
def test_thought_is_counted_as_the_server_does_else_up_to_its_last_piece(
    details: Any, thought: int
) -> None:
    def used(tokens: int, **more: Any) -> dict[str, Any]:
        return {"usage": {"completion_tokens": tokens, **more}}

    last = {"choices": [], **used(9, completion_tokens_details=details)}
    parts = read(
        choice({"reasoning_content": "h"}) | used(1),
        choice({"reasoning_content": "m"}) | used(3),
        choice({"content": "Hi"}) | used(4),
        last,
    )
    assert parts[-1] == Ended("stop", None, Counts(answer=9, thought=thought))


def test_likelihoods_come_before_what_they_are_of() -> None:
    token = {"token": "Hi", "logprob": -0.5}
    parts = read(choice({"content": "Hi"}, logprobs={"content": [token]}))
    assert parts[1:3] == [Likelihoods([token]), Text("Hi")]


NAMES = {
    "$.stop": "$.stop_sequences",
    "$.messages[1]": "$.messages[0].content[2]",
    "$.messages[1].tool_call_id": "$.messages[0].content[2].tool_use_id",
}


@pytest.mark.parametrize(
    ("text", "as_sent"),
    [
        ("$.stop: must be short", "$.stop_sequences: must be short"),
        ("$.stop[3]", "$.stop_sequences[3]"),
        ("$.stopping", "$.stopping"),
        (
            "$.messages[1].content and $.stop",
            "$.messages[0].content[2].content and $.stop_sequences",
        ),
        ("$.messages[1].tool_call_id", "$.messages[0].content[2].tool_use_id"),
        ("$.messages[11]", "$.messages[11]"),
    ],
)
def test_places_are_named_as_they_were_sent(text: str, as_sent: str) -> None:
    assert renamed(text, NAMES) == as_sent
    assert renamed(text, {}) == text


def test_an_error_names_the_fields_that_were_sent() -> None:
    with pytest.raises(InvalidRequest) as caught, naming(NAMES):
        raise InvalidRequest("$.stop: must be short.", param="$.stop")
    assert (caught.value.message, caught.value.param) == (
        "$.stop_sequences: must be short.",
        "$.stop_sequences",
    )
    with pytest.raises(InvalidRequest) as caught, naming(NAMES):
        raise InvalidRequest("no")
    assert (caught.value.message, caught.value.param) == ("no", None)
    with pytest.raises(ContextLengthExceeded) as too_long, naming({"$.messages": "$.input"}):
        raise ContextLengthExceeded(9, 8)
    assert too_long.value.param == "$.input"
