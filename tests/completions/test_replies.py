"""An engine's events become chunks, and chunks a plain answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from jan_server.completions.reasoning import Marks, ReasoningSplitter
from jan_server.completions.replies import Reply, joined
from jan_server.completions.reply_parser import ReplyParser
from jan_server.completions.tools.calls import ToolCallParser
from jan_server.completions.tools.formats import OURS
from jan_server.completions.usage import UsageTold
from jan_server.engines.base import (
    Accepted,
    Choice,
    Event,
    Finished,
    Likelihood,
    Piece,
    Progress,
    Queued,
    Started,
)
from jan_server.types.chat import ChatCompletionChunk


def thinking() -> ReplyParser:
    return ReplyParser(ReasoningSplitter(Marks("<think>", "</think>"), inside=False), None)


def reply(
    *,
    parser: Callable[[], ReplyParser] = thinking,
    truncated: int | UnsetType = UNSET,
    usage: UsageTold = "last",
) -> Reply:
    return Reply(
        "m",
        choices=1,
        parser=parser,
        logprobs=True,
        usage=usage,
        truncated=truncated,
    )


def chunks(reply: Reply, *events: Event) -> list[ChatCompletionChunk]:
    return [chunk for event in events for chunk in reply.take(0, event)]


def piece(text: str) -> Piece:
    return Piece(text, choices=(Choice(Likelihood(1, text.encode(), -1.0)),))


WHOLE: tuple[Event, ...] = (
    Accepted(3),
    Queued(1),
    Started(1),
    Progress(3),
    piece("<thi"),
    piece("nk>hm"),
    piece("</think>"),
    piece("Hi"),
    Finished("stop", 4),
)


def test_what_is_thought_is_told_apart_and_its_likelihoods_come_with_the_next_chunk() -> None:
    told = chunks(reply(), *WHOLE)
    assert [msgspec.to_builtins(c.delta) for chunk in told for c in chunk.choices] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "hm"},
        {"content": "Hi"},
        {},
    ]
    tokens: list[Any] = [
        [token.token for token in choice.logprobs.content] if choice.logprobs else None
        for chunk in told
        for choice in chunk.choices
    ]
    assert tokens == [None, ["<thi", "nk>hm"], ["</think>", "Hi"], None]


def test_the_usage_so_far_can_be_in_every_chunk() -> None:
    told = chunks(reply(usage="always"), *WHOLE)
    counts = [(c.usage.prompt_tokens, c.usage.completion_tokens) for c in told if c.usage]
    assert counts == [(3, 0), (3, 2), (3, 4), (3, 4), (3, 4)]
    [first, *_] = told
    assert first.usage
    assert first.usage.prompt_tokens_details.cached_tokens == 1


def test_the_stop_string_that_was_met_is_told() -> None:
    events = (Accepted(1), Started(), piece("one "), Finished("stop", 2, stop_string="two"))
    told = chunks(reply(), *events)
    reasons = [choice.stop_reason for chunk in told for choice in chunk.choices]
    assert reasons == [UNSET, UNSET, "two"]
    assert joined(told).choices[0].stop_reason == "two"


def test_a_plain_answer_is_the_chunks_put_together() -> None:
    whole = joined(chunks(reply(truncated=2), *WHOLE))
    [choice] = whole.choices
    assert choice.message.reasoning_content == "hm"
    assert (choice.message.content, choice.finish_reason) == ("Hi", "stop")
    assert choice.logprobs
    assert len(choice.logprobs.content) == 4
    assert whole.truncated_messages == 2
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (3, 4)
    assert whole.usage.prompt_tokens_details.cached_tokens == 1


def test_what_is_held_back_comes_at_the_end() -> None:
    told = chunks(reply(), Accepted(1), Started(), piece("<thi"), Finished("length", 1))
    [_, held, finish, _] = told
    assert held.choices[0].delta.content == "<thi"
    assert held.choices[0].logprobs
    assert finish.choices[0].finish_reason == "length"


def calling() -> ReplyParser:
    return ReplyParser(None, ToolCallParser(OURS, frozenset({"add"}), one=False))


def test_calls_are_put_together_and_content_is_null_where_nothing_is_said() -> None:
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    texts = [f"{call}\n{call}"[start : start + 5] for start in range(0, 2 * len(call) + 1, 5)]
    told = chunks(
        reply(parser=calling), Accepted(1), Started(), *map(piece, texts), Finished("stop", 9)
    )
    whole = msgspec.to_builtins(joined(told).choices[0])
    ids = [call.pop("id") for call in whole["message"]["tool_calls"]]
    assert len(set(ids)) == 2
    function = {"name": "add", "arguments": '{"a": 1}'}
    assert whole["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [{"type": "function", "function": function}] * 2,
    }
    assert whole["finish_reason"] == "tool_calls"


def test_an_answer_that_is_cut_within_a_call_ends_with_length() -> None:
    head = '<tool_call>\n{"name": "add", "arguments": {"a"'
    told = chunks(reply(parser=calling), Accepted(1), Started(), piece(head), Finished("length", 1))
    assert joined(told).choices[0].finish_reason == "length"
