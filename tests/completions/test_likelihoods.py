"""Likelihoods in OpenAI's two shapes."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from jan_server.completions.likelihoods import (
    TextOffsets,
    asked_of_chat,
    chat_logprobs,
    text_logprobs,
)
from jan_server.engines.base import Choice, Likelihood
from jan_server.errors import InvalidRequest
from jan_server.types.chat import ChatCompletionRequest, ChatMessage

HI = Likelihood(5, b"Hi", -0.5)
HO = Likelihood(6, b"Ho", -1.5)
HALF = Likelihood(7, "é".encode()[:1], -0.25)
REST = Likelihood(8, "é".encode()[1:], 0.0)
NEVER = Likelihood(9, b"!", -math.inf)


def test_a_chats_tokens_have_text_bytes_and_the_likeliest_beside_them() -> None:
    told = msgspec.to_builtins(chat_logprobs([Choice(HO, (HI, HO)), Choice(HALF)]))
    assert told == {
        "content": [
            {
                "token": "Ho",
                "logprob": -1.5,
                "bytes": [72, 111],
                "top_logprobs": [
                    {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]},
                    {"token": "Ho", "logprob": -1.5, "bytes": [72, 111]},
                ],
            },
            {"token": "\ufffd", "logprob": -0.25, "bytes": [195], "top_logprobs": []},
        ],
        "refusal": None,
    }


def test_what_is_impossible_has_a_finite_number() -> None:
    [told] = chat_logprobs([Choice(NEVER)]).content
    assert told.logprob == -9999.0


def test_a_texts_tokens_are_parallel_lists_with_the_chosen_one_among_the_likeliest() -> None:
    offsets = TextOffsets(0)
    told = text_logprobs([Choice(HO, (HI,)), Choice(HALF), Choice(REST), Choice(HI)], offsets)
    assert msgspec.to_builtins(told) == {
        "tokens": ["Ho", "\ufffd", "\ufffd", "Hi"],
        "token_logprobs": [-1.5, -0.25, 0.0, -0.5],
        "top_logprobs": [
            {"Ho": -1.5, "Hi": -0.5},
            {"\ufffd": -0.25},
            {"\ufffd": 0.0},
            {"Hi": -0.5},
        ],
        "text_offset": [0, 2, 2, 3],
    }
    assert text_logprobs([Choice(HI)], offsets).text_offset == [5]


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        ({}, None),
        ({"logprobs": False}, None),
        ({"logprobs": None, "top_logprobs": 0}, None),
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 3}, 3),
    ],
)
def test_what_a_chat_asks_for(sent: dict[str, Any], asked: int | None) -> None:
    assert asked_of_chat(request(**sent)) == asked


def test_the_likeliest_without_likelihoods_are_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked_of_chat(request(top_logprobs=2))
    assert caught.value.param == "$.top_logprobs"


def request(**sent: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest(messages=[ChatMessage(role="user", content="x")], **sent)


def test_of_two_tokens_of_the_same_text_the_likelier_one_is_told() -> None:
    likelier, chosen = Likelihood(1, b"\xfe", -1.0), Likelihood(2, b"\xff", -5.0)
    told = text_logprobs([Choice(chosen, (likelier,))], TextOffsets(0))
    assert told.top_logprobs == [{"\ufffd": -1.0}]
