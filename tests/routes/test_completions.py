"""POST /v1/completions, with the engine that says the prompt again."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def ask(client, echo):
    def post(prompt="one two three", **more):
        body = {"model": echo, "prompt": prompt, **more}
        return client.post("/v1/completions", json=body)

    return post


def events(answer):
    *data, done, end = answer.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in data]


def texts(answer):
    assert answer.status_code == 200, answer.text
    return [(choice["index"], choice["text"]) for choice in answer.json()["choices"]]


def test_an_answer_in_openais_older_shape(ask):
    answer = ask().json()
    assert answer.pop("id").startswith("cmpl-")
    assert answer.pop("created") > 1_700_000_000
    assert answer.pop("timings")["prompt_n"] == 3
    assert answer == {
        "object": "text_completion",
        "model": "echo",
        "choices": [
            {"index": 0, "text": "one two three", "logprobs": None, "finish_reason": "stop"}
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
    *pieces, last = events(ask(stream=True))
    assert pieces[0]["choices"][0]["text"] == "one "
    assert "".join(piece["choices"][0]["text"] for piece in pieces) == "one two three"
    assert not {"usage", "timings"} & {name for piece in pieces for name in piece}
    assert last["choices"] == [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}]
    assert last["timings"]["predicted_n"] == 3


def test_a_stream_tells_its_usage_when_asked(ask):
    *pieces, last = events(ask(stream=True, stream_options={"include_usage": True}))
    assert all(piece["usage"] is None for piece in pieces)
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 6)


def test_the_usage_so_far_can_be_in_every_piece(ask):
    options = {"include_usage": True, "continuous_usage_stats": True}
    told = events(ask(stream=True, stream_options=options))
    counts = [piece["usage"]["completion_tokens"] for piece in told]
    assert counts == sorted(counts)  # Words that come at once are one piece.
    assert (counts[0] > 0, counts[-1]) == (True, 3)


def test_the_stop_string_that_was_met_is_told(ask):
    [choice] = ask(stop=["three", "x"]).json()["choices"]
    assert (choice["text"], choice["stop_reason"]) == ("one two ", "three")


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}])
def test_the_usage_is_not_told_unasked(ask, options):
    pieces = events(ask(stream=True, stream_options=options))
    assert all("usage" not in piece for piece in pieces)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"max_tokens": 1}, "one "),
        ({"stop": "two"}, "one "),
        ({"stop": ["three", "x"]}, "one two "),
        ({"echo": True, "max_tokens": 1}, "one two threeone "),
        ({"echo": False}, "one two three"),
    ],
)
def test_parameters_are_honoured(ask, more, expected):
    assert texts(ask(**more)) == [(0, expected)]
    pieces = events(ask(stream=True, **more))
    assert "".join(piece["choices"][0]["text"] for piece in pieces) == expected


def test_a_prompt_may_be_tokens(ask, client, echo):
    tokens = client.post("/v1/tokenize", json={"model": echo, "prompt": "b a b"}).json()["tokens"]
    assert texts(ask(tokens)) == [(0, "b a b")]
    assert texts(ask(tokens[:1], echo=True)) == [(0, "b b ")]


def test_each_prompt_of_a_list_is_gone_on_with_n_times(ask, client, echo):
    answer = ask(["one two", "three"], n=2)
    assert texts(answer) == [(0, "one two"), (1, "one two"), (2, "three"), (3, "three")]
    usage = answer.json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (3, 6)
    [one] = client.post("/v1/tokenize", json={"model": echo, "prompt": "three"}).json()["tokens"]
    assert texts(ask([[one], [one, one]], echo=True)) == [
        (0, "threethree"),
        (1, "threethreethreethree"),
    ]


def test_likelihoods_are_parallel_lists(ask):
    [choice] = ask("hé ho", logprobs=1).json()["choices"]
    assert choice["logprobs"] == {
        "tokens": ["hé ", "ho"],
        "token_logprobs": [0.0, 0.0],
        "top_logprobs": [{"hé ": 0.0}, {"ho": 0.0}],
        "text_offset": [0, 3],
    }
    streamed = events(ask("hé ho", logprobs=0, stream=True))
    told = [piece["choices"][0]["logprobs"] for piece in streamed]
    assert [offset for one in told if one for offset in one["text_offset"]] == [0, 3]


def test_places_are_counted_within_each_answer(ask):
    choices = ask(["a b", "hé ho"], logprobs=0, n=2).json()["choices"]
    assert [choice["logprobs"]["text_offset"] for choice in choices] == [[0, 2]] * 2 + [[0, 3]] * 2


@pytest.mark.parametrize(
    ("more", "code", "param"),
    [
        ({"suffix": "x"}, "unsupported_parameter", "$.suffix"),
        ({"best_of": 2}, "unsupported_parameter", "$.best_of"),
        ({"echo": True, "logprobs": 1}, "unsupported_parameter", "$.echo"),
        ({"regex": "x"}, "unsupported_parameter", "$.regex"),
        ({"prompt": []}, "invalid_request", "$.prompt"),
        ({"prompt": [None]}, "invalid_request", "$.prompt[0]"),
        ({"prompt": 5}, "invalid_request", "$.prompt"),
        ({"prompt": "word " * 3000}, "context_length_exceeded", "$.prompt"),
        ({"prompt": ["x", "word " * 3000]}, "context_length_exceeded", "$.prompt[1]"),
        ({"prompt": ["x", [99]]}, "invalid_request", "$.prompt[1]"),
        ({"logprobs": True}, "invalid_request", "$.logprobs"),
        ({"logprobs": 21}, "invalid_request", "$.logprobs"),
        ({"temperature": 3}, "invalid_request", "$.temperature"),
        ({"n": 0}, "invalid_request", "$.n"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_done_is_a_400_that_names_it(ask, more, code, param, stream):
    answer = ask(**{"stream": stream, **more})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param)


@pytest.mark.parametrize(
    "harmless",
    [
        {"suffix": None, "best_of": None, "echo": None, "logprobs": None},
        {"suffix": "", "best_of": 1, "user": "me"},
        {"n": 2, "best_of": 2},
    ],
)
def test_what_asks_for_nothing_is_accepted(ask, harmless):
    assert ask(**harmless).status_code == 200


def test_a_text_without_a_prompt_is_a_400(client, echo):
    answer = client.post("/v1/completions", json={"model": echo})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "$.prompt")
