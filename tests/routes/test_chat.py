from __future__ import annotations

import json
import logging
import shutil

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
    assert answer.pop("timings")["predicted_n"] == 3
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


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}])
def test_the_usage_is_not_told_unasked(ask, options):
    chunks = events(ask(stream=True, stream_options=options))
    assert all("usage" not in chunk for chunk in chunks)


@pytest.mark.parametrize("usage", [True, False])
def test_the_timings_are_in_the_last_chunk_alone(ask, usage):
    *chunks, last = events(ask(stream=True, stream_options={"include_usage": usage}))
    assert all("timings" not in chunk for chunk in chunks)
    counts = {name: last["timings"][name] for name in ("cache_n", "prompt_n", "predicted_n")}
    assert counts == {"cache_n": 0, "prompt_n": 3, "predicted_n": 3}


def test_what_is_cached_is_told_and_is_not_computed_again(ask):
    ask("one two three")
    answer = ask("one two four").json()
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
    assert (answer["timings"]["cache_n"], answer["timings"]["prompt_n"]) == (2, 1)
    uncached = ask("one two five", cache_prompt=False).json()
    assert uncached["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}


def test_several_choices_are_answers_to_one_prompt(ask):
    answer = ask("one two", n=3).json()
    assert [(c["index"], c["message"]["content"]) for c in answer["choices"]] == [
        (0, "one two"),
        (1, "one two"),
        (2, "one two"),
    ]
    assert answer["usage"] == {
        "prompt_tokens": 2,
        "completion_tokens": 6,
        "total_tokens": 8,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    # The second and the third find the prompt cached.
    assert (answer["timings"]["prompt_n"], answer["timings"]["cache_n"]) == (4, 2)


def test_a_stream_of_several_choices_says_which_each_chunk_is_of(ask):
    chunks = events(ask("one two", n=2, stream=True))
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    for index in (0, 1):
        first, *rest, last = [choice for choice in choices if choice["index"] == index]
        assert first["delta"] == {"role": "assistant", "content": ""}
        assert "".join(choice["delta"]["content"] for choice in rest) == "one two"
        assert (last["delta"], last["finish_reason"]) == ({}, "stop")
    assert [choice["index"] for choice in choices] == sorted(c["index"] for c in choices)
    assert len({chunk["id"] for chunk in chunks}) == 1


TOLD = [
    {"token": word, "logprob": 0.0, "bytes": list(word.encode()), "top_logprobs": []}
    for word in ("hé ", "ho")
]


def test_likelihoods_are_told_when_asked_for(ask):
    [choice] = ask("hé ho", logprobs=True).json()["choices"]
    assert choice["logprobs"] == {"content": TOLD, "refusal": None}
    [choice] = ask("hé ho", logprobs=True, top_logprobs=2).json()["choices"]
    assert [token["top_logprobs"] for token in choice["logprobs"]["content"]] == [
        [{"token": word, "logprob": 0.0, "bytes": list(word.encode())}] for word in ("hé ", "ho")
    ]


def test_a_stream_tells_each_likelihood_once(ask):
    chunks = events(ask("hé ho", logprobs=True, stream=True))
    told = [choice["logprobs"] for chunk in chunks for choice in chunk["choices"]]
    assert [token for one in told if one for token in one["content"]] == TOLD


@pytest.mark.parametrize(
    ("keep_alive", "least", "most"), [(30, 0, 30), ("2m", 100, 120), ("1h", 3000, 3600)]
)
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ("/chat/count_tokens", {"messages": [{"role": "user", "content": "x"}]}),
        ("/completions", {"prompt": "x"}),
        ("/embeddings", {"input": "x"}),
    ],
)
def test_the_model_stays_as_long_as_the_request_asks(
    client, echo, path, said, keep_alive, least, most
):
    body = {"model": echo, "keep_alive": keep_alive, **said}
    assert client.post(f"/v1{path}", json=body).status_code == 200
    [loaded] = client.get("/healthz").json()["loaded"]
    assert least < loaded["expires_in"] <= most


def test_the_model_can_stay_for_ever_or_not_at_all(ask, client):
    ask(keep_alive=-1)
    [loaded] = client.get("/healthz").json()["loaded"]
    assert loaded["expires_in"] is None
    ask(keep_alive=0)
    while client.get("/healthz").json()["loaded"]:
        pass  # It ends in the background.


CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": "four"},
    {"role": "user", "content": "five"},
]


def spoken(*turns):
    said = " ".join(f"<|im_start|>{role} {content}<|im_end|>" for role, content in turns)
    return f"<|im_start|>system Be brief.<|im_end|> {said} <|im_start|>assistant"


LAST = ("user", "five")
LATER = (("user", "three"), ("assistant", "four"), LAST)


@pytest.fixture
def converse(client, write):
    """Ask with that conversation, of a model whose context holds so many words."""

    def post(ctx_len, manifest_says=None, **more):
        settings = {"ctx_len": ctx_len, "truncation": manifest_says}
        write("models/echo/model.json", {"engine": "echo", "settings": settings})
        body = {"model": "echo", "messages": CONVERSATION, **more}
        return client.post("/v1/chat/completions", json=body)

    return post


@pytest.mark.parametrize(
    ("ctx_len", "max_tokens", "left_out", "kept"),
    [
        (40, 20, 0, (("user", "one"), ("assistant", "two"), *LATER)),
        (13, 2, 2, LATER),
        (13, 6, 4, (LAST,)),
        (13, 2048, 4, (LAST,)),
        (13, None, 2, LATER),
    ],
)
def test_a_long_conversation_loses_its_oldest_turns_and_the_answer_says_how_many(
    converse, ctx_len, max_tokens, left_out, kept
):
    answer = converse(ctx_len, "auto", max_tokens=max_tokens).json()
    assert answer["truncated_messages"] == left_out
    said = " ".join(answer["choices"][0]["message"]["content"].split())
    assert spoken(*kept).startswith(said)
    assert answer["usage"]["prompt_tokens"] == len(spoken(*kept).split())


@pytest.mark.parametrize(
    ("manifest", "request_says", "status"),
    [
        (None, {}, 400),
        (None, {"truncation": "disabled"}, 400),
        (None, {"truncation": "auto"}, 200),
        ("auto", {}, 200),
        ("auto", {"truncation": None}, 200),
        ("auto", {"truncation": "disabled"}, 400),
        ("disabled", {"truncation": "auto"}, 200),
    ],
)
def test_the_request_wins_over_the_manifest_on_truncation(converse, manifest, request_says, status):
    answer = converse(13, manifest, max_tokens=2, **request_says)
    assert answer.status_code == status
    assert ("truncated_messages" in answer.json()) == (status == 200)


def test_what_cannot_be_left_out_is_still_too_long(converse):
    answer = converse(5, "auto")
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_a_stream_says_in_its_first_and_last_chunk_how_much_was_left_out(converse):
    first, *between, last = events(converse(13, "auto", max_tokens=2, stream=True))
    assert (first["truncated_messages"], last["truncated_messages"]) == (2, 2)
    assert all("truncated_messages" not in chunk for chunk in between)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_that_is_cut_ends_with_length(ask, name):
    [choice] = ask(**{name: 2}).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("hello there ", "length")


@pytest.mark.parametrize("name", ["max_tokens", "n_predict"])
def test_as_many_tokens_as_there_is_room_for_are_asked_for_by_minus_one(ask, write, name):
    """So does the example of LM Studio's documents, which people send elsewhere too."""
    parameters = {"max_tokens": 1}
    write("models/echo/model.json", {"engine": "echo", "parameters": parameters})
    [choice] = ask(**{name: -1}).json()["choices"]
    assert choice["finish_reason"] == "stop"


def test_an_answer_that_meets_the_end_of_the_context_ends_with_length(ask, write):
    settings = {"prompt_template": "{prompt}", "ctx_len": 5}
    write("models/echo/model.json", {"engine": "echo", "settings": settings})
    answer = ask("one two three").json()
    [choice] = answer["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("one two ", "length")
    assert answer["usage"]["total_tokens"] == 5


@pytest.mark.parametrize("stop", ["there", ["x", "there"]])
def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(ask, stop):
    [choice] = ask(stop=stop).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("hello ", "stop")
    assert choice["stop_reason"] == "there"


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
        (
            [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
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


def test_a_model_for_embeddings_is_the_default_only_where_there_is_no_other(
    client, write, data_folder
):
    for id, settings in (("aaa", {"embedding": True}), ("bbb", {"embedding": False}), ("ccc", {})):
        write(f"models/{id}/model.json", {"settings": settings})
        write_tiny_gguf(data_folder / f"models/{id}/{id}.gguf")
    models = client.app.state.services.models
    assert models.default_id() == "bbb"
    shutil.rmtree(data_folder / "models/bbb")
    assert models.default_id() == "ccc"
    shutil.rmtree(data_folder / "models/ccc")
    assert models.default_id() == "aaa"


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
    assert "it has 20 tokens" in answer.json()["message"]
    # By these words LangChain and LiteLLM know what it is.
    assert "prompt is too long" in answer.json()["message"]
    assert "this model's maximum context length is 8 tokens" in answer.json()["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"{}", "$.messages"),
        (b'{"messages": []}', "$.messages"),
        (b'{"messages": "x"}', "$.messages"),
        (b'{"messages": [{"content": "x"}]}', "$.messages[0].role"),
        (b'{"model": "echo", "messages": [{"role": "user"}]}', "$.messages[0].content"),
        (b'{"messages": [{"role": "robot", "content": "x"}]}', "$.messages[0].role"),
        (b'{"messages": [{"role": "user", "content": 7}]}', "$.messages[0].content"),
        (
            b'{"model": "echo", "messages": [{"role": "user", "content": null}]}',
            "$.messages[0].content",
        ),
        (
            b'{"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}]}',
            "$.messages[0].tool_calls[0].function",
        ),
        (b'{"model": "a\\u0000", "messages": [{"role": "user", "content": "x"}]}', "$.model"),
    ],
)
def test_a_wrong_conversation_is_a_400_with_its_place(client, echo, body, param):
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
        ("n", 0),
        ("n", 129),
        ("top_logprobs", 21),
        ("top_logprobs", 1),
        ("logprobs", 3),
        ("logit_bias", {"5": 200}),
        ("logit_bias", {"x": 1}),
        ("logit_bias", [[1]]),
        ("typical_p", 2),
        ("mirostat", 3),
        ("mirostat_tau", -1),
        ("mirostat_eta", 7),
        ("truncation", "some"),
        ("keep_alive", "soon"),
        ("chat_template_kwargs", 5),
        ("tools", "f"),
    ],
)
def test_a_wrong_parameter_is_a_400_that_names_it(ask, name, value):
    answer = ask(**{name: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(f"$.{name}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("response_format", {"type": "json_object"}),
        ("json_schema", {"type": "integer"}),
        ("regex", "[0-9]"),
        ("guided_regex", "[0-9]"),
        ("grammar", "start: /x/"),
        ("grammar", "root ::= x"),
        ("tool_choice", "required"),
        ("functions", [{"name": "f"}]),
        ("audio", {}),
        ("best_of", 2),
        ("dry_multiplier", 0.8),
    ],
)
def test_a_parameter_that_cannot_be_honoured_is_a_400_that_names_it(ask, name, value):
    """The echo engine cannot hold an answer to a form."""
    tools = [{"type": "function", "function": {"name": "f"}}] if name == "tool_choice" else []
    answer = ask(**{"tools": tools, name: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_parameter"
    assert answer.json()["error"]["param"] == f"$.{name}"


def test_what_has_a_newer_name_is_refused_with_it(ask):
    assert "send 'tools' instead" in ask(functions=[{"name": "f"}]).json()["message"]


TOOL = {"type": "function", "function": {"name": "add"}}
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


def test_a_call_of_a_tool_is_told_apart(ask):
    """The echo engine says what it was told of tools before it calls."""
    answer = ask(CALL, tools=[TOOL]).json()
    [choice] = answer["choices"]
    [call] = choice["message"].pop("tool_calls")
    assert call.pop("id")
    assert call == {"type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    assert '"a": 1' not in choice["message"]["content"]
    assert choice["finish_reason"] == "tool_calls"


def test_a_stream_tells_of_a_call_as_it_grows(ask):
    *chunks, last = events(ask(CALL, tools=[TOOL], stream=True))
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert (calls[0]["index"], calls[0]["function"]["name"]) == (0, "add")
    assert "".join(call["function"].get("arguments", "") for call in calls) == '{"a": 1}'
    assert last["choices"][0]["finish_reason"] == "tool_calls"


def test_each_of_several_choices_has_its_own_calls(ask):
    choices = ask(CALL, tools=[TOOL], n=2).json()["choices"]
    calls = [call for choice in choices for call in choice["message"]["tool_calls"]]
    assert [call["function"]["arguments"] for call in calls] == ['{"a": 1}'] * 2
    assert len({call["id"] for call in calls}) == 2


def test_tokens_of_which_nothing_is_shown_have_likelihoods_too(ask):
    call = CALL.replace("</", " </")
    answer = ask(call, tools=[TOOL], logprobs=True).json()
    told = answer["choices"][0]["logprobs"]["content"]
    assert len(told) == answer["usage"]["completion_tokens"]
    assert told[-1]["token"] == "</tool_call>"


@pytest.mark.parametrize("more", [{}, {"tools": [TOOL], "tool_choice": "none"}])
def test_without_tools_a_call_is_text(ask, more):
    [choice] = ask(CALL, **more).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (CALL, "stop")


def test_a_tools_result_goes_with_its_call_when_both_are_left_out(client, write):
    """In the template a call is text, and its result a user's turn."""
    write("models/echo/model.json", {"engine": "echo", "settings": {"ctx_len": 24}})
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "x " * 10},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "three"},
        {"role": "user", "content": "last"},
    ]
    body = {"model": "echo", "messages": messages, "truncation": "auto", "max_tokens": 4}
    answer = client.post("/v1/chat/completions", json=body).json()
    assert answer["truncated_messages"] == 3
    assert answer["usage"]["prompt_tokens"] == 3


def test_an_image_is_a_400_with_its_place(ask):
    answer = ask([{"type": "image_url", "image_url": {"url": "data:,"}}])
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "$.messages[0].content[0]"


@pytest.mark.parametrize(
    "harmless",
    [
        {"n": 1, "logprobs": False, "tools": [], "response_format": {"type": "text"}},
        {"mirostat": 0, "typical_p": 1, "dry_multiplier": 0.0, "xtc_probability": 0, "grammar": ""},
        {"n": None, "logprobs": None, "top_logprobs": None, "truncation": None, "keep_alive": None},
        {"reasoning_effort": "low", "functions": [], "function_call": "auto"},
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
