"""One of our servers in front of another, asked by the `openai` package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest

from jan_server.settings import Settings
from tests.running import served

pytestmark = [
    # OpenAI deprecated its Assistants API; its SDK says so at every call.
    pytest.mark.filterwarnings("ignore:.*Assistants API is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning"),
]
KEY = "the cluster's"
HELLO: Any = [{"role": "user", "content": "hello there you"}]
# Takes twenty seconds when nobody ends it, and the clients wait for ten.
LONG: Any = [{"role": "user", "content": "one [[slow 0.05]] " + "more " * 400}]
SECONDS = 60


class Pair(NamedTuple):
    """Clients of the server in front and of the one behind it, and the file that joins them."""

    front: openai.OpenAI
    behind: openai.OpenAI
    file: Path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Behind is an echo model with one slot, in front it is called `far`."""
    folder = tmp_path_factory.mktemp("remote")
    settings = {"prompt_template": "{prompt}", "n_parallel": 1}
    put(folder / "behind/models/echo/model.json", {"engine": "echo", "settings": settings})
    far = {"engine": "openai", "settings": {"remote_model": "echo"}}
    put(folder / "front/models/far/model.json", {**far, "parameters": {"max_tokens": 2}})
    options: dict[str, Any] = {"fsync": False, "watch": "off"}
    with (
        served(Settings(data_folder=folder / "behind", api_key=KEY, **options)) as behind,
        served(Settings(data_folder=folder / "front", **options)) as front,
        client_of(behind, KEY) as of_behind,
        client_of(front, "none") as of_front,
    ):
        file = put(
            folder / "front/engines/openai.json",
            {"full_url": f"{behind}/v1/chat/completions", "api_key": KEY},
        )
        yield Pair(of_front, of_behind, file)


def put(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def client_of(base: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{base}/v1", api_key=key, timeout=SECONDS, max_retries=0)


def alike(answer: Any) -> Any:
    """Without what differs between two answers that say the same."""
    told = answer.to_dict()
    (told.get("usage") or {}).pop("prompt_tokens_details", None)  # What was asked before is cached.
    return {key: value for key, value in told.items() if key not in ("id", "created", "timings")}


def test_it_is_listed_as_a_model(pair: Pair):
    [model] = pair.front.models.list().data
    assert (model.id, model.object) == ("far", "model")


def test_a_chat_is_the_answer_of_the_server_behind(pair: Pair):
    direct = pair.behind.chat.completions.create(model="echo", messages=HELLO)
    passed = pair.front.chat.completions.create(model="far", messages=HELLO, max_tokens=100)
    assert passed.choices[0].message.content == "hello there you"
    assert alike(passed) == {**alike(direct), "model": "far"}


def test_the_manifest_here_has_the_defaults(pair: Pair):
    answer = pair.front.chat.completions.create(model="far", messages=HELLO)
    [choice] = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("hello there ", "length")


def test_a_stream_has_the_same_chunks(pair: Pair):
    options: Any = {"messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    direct = list(pair.behind.chat.completions.create(model="echo", **options))
    passed = list(pair.front.chat.completions.create(model="far", max_tokens=100, **options))
    assert [alike(chunk) for chunk in passed] == [
        {**alike(chunk), "model": "far"} for chunk in direct
    ]
    assert passed[-1].usage is not None
    assert passed[-1].usage.completion_tokens == 3


@pytest.mark.parametrize("stream", [False, True])
def test_completions_are_passed_on(pair: Pair, stream: bool):
    answer: Any = pair.front.completions.create(model="far", prompt="a b c", stream=stream)
    answers = list(answer) if stream else [answer]
    assert "".join(choice.text for one in answers for choice in one.choices) == "a b "
    assert {one.model for one in answers} == {"far"}


def test_embeddings_are_passed_on(pair: Pair):
    """The package asks for base64 unless told otherwise, and decodes it."""
    direct = pair.behind.embeddings.create(model="echo", input=["a b", "c"])
    passed = pair.front.embeddings.create(model="far", input=["a b", "c"])
    assert alike(passed) == {**alike(direct), "model": "far"}
    assert [len(one.embedding) for one in passed.data] == [8, 8]


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_of_the_request_is_as_the_server_behind_tells_it(pair: Pair, stream: bool):
    with pytest.raises(openai.BadRequestError) as caught:
        pair.front.chat.completions.create(
            model="far", messages=[{"role": "user", "content": "x " * 3000}], stream=stream
        )
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "$.messages")


def test_a_key_that_the_server_behind_refuses_is_no_matter_of_the_client(pair: Pair):
    before = pair.file.read_text()
    try:
        put(pair.file, {**json.loads(before), "api_key": "sk-wrong"})
        with pytest.raises(openai.InternalServerError) as caught:
            pair.front.chat.completions.create(model="far", messages=HELLO)
    finally:
        pair.file.write_text(before)
    assert (caught.value.status_code, caught.value.code) == (502, "remote_failed")
    assert "refused our key: see engines/openai.json" in caught.value.message
    assert "sk-wrong" not in caught.value.message


def test_who_leaves_frees_the_slot_behind(pair: Pair):
    for _ in range(2):
        with pair.front.chat.completions.create(
            model="far", messages=LONG, max_tokens=1000, stream=True
        ) as stream:
            while not next(stream).choices[0].delta.content:
                pass
    answer = pair.behind.chat.completions.create(model="echo", messages=HELLO)
    assert answer.choices[0].message.content == "hello there you"


def test_a_stream_that_fails_behind_fails_in_front(pair: Pair):
    stream = pair.front.chat.completions.create(
        model="far",
        messages=[{"role": "user", "content": "one [[die]]"}],
        max_tokens=100,
        stream=True,
    )
    with pytest.raises(openai.APIError, match=r"failed \(engine_died\)"):
        list(stream)


def test_a_run_is_answered_there_and_kept_here(pair: Pair):
    assistant = pair.front.beta.assistants.create(model="far")
    run = pair.front.beta.threads.create_and_run_poll(
        assistant_id=assistant.id,
        thread={"messages": HELLO},
        max_completion_tokens=100,
        max_prompt_tokens=500,
    )
    assert (run.status, run.last_error) == ("completed", None)
    assert run.usage
    assert run.usage.total_tokens == 6
    [reply, _] = pair.front.beta.threads.messages.list(run.thread_id)
    assert reply.to_dict()["content"][0]["text"]["value"] == "hello there you"


def test_a_call_is_made_there_and_answered_here(pair: Pair):
    add = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    call = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    assistant = pair.front.beta.assistants.create(model="far", tools=[add])  # type: ignore[list-item]
    run = pair.front.beta.threads.create_and_run_poll(
        assistant_id=assistant.id,
        thread={"messages": [{"role": "user", "content": call}]},
        max_completion_tokens=500,
    )
    assert run.status == "requires_action"
    assert run.required_action
    # The echo engine says first what it was told of tools, with an example.
    called = run.required_action.submit_tool_outputs.tool_calls[-1].function
    assert (called.name, json.loads(called.arguments)) == ("add", {"a": 1})


def test_who_cancels_a_run_stops_the_server_behind(pair: Pair):
    assistant = pair.front.beta.assistants.create(model="far")
    run = pair.front.beta.threads.create_and_run(
        assistant_id=assistant.id, thread={"messages": LONG}, max_completion_tokens=1000
    )
    pair.front.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
    ended = pair.front.beta.threads.runs.poll(run.id, thread_id=run.thread_id)
    assert ended.status == "cancelled"
    # Its one slot is free long before the answer would have ended.
    pair.behind.chat.completions.create(model="echo", messages=HELLO)


def test_a_server_that_is_not_there_is_the_runs_error(pair: Pair):
    text = pair.file.read_text()
    pair.file.write_text(json.dumps({"full_url": "http://127.0.0.1:9/v1/chat/completions"}))
    try:
        assistant = pair.front.beta.assistants.create(model="far")
        run = pair.front.beta.threads.create_and_run_poll(
            assistant_id=assistant.id, thread={"messages": HELLO}
        )
    finally:
        pair.file.write_text(text)
    assert run.status == "failed"
    assert run.last_error
    assert run.last_error.code == "server_error"
    assert "cannot be reached" in run.last_error.message
