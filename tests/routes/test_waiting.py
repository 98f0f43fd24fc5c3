"""Requests that wait for a model's only slot, and clients that leave."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from jan_server.routes import answering
from jan_server.settings import Settings
from tests.running import served

PATIENCE = 60


@pytest.fixture
def base(data_folder: Path, echo: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server whose only model has one slot; whoever waits too long for it hears nothing."""
    monkeypatch.setattr(answering, "HEARTBEAT", 3.0 * PATIENCE)
    with served(Settings(data_folder=data_folder, fsync=False, watch="off")) as base:
        yield base.removeprefix("http://")


def chat(content: str, **more: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": content}], **more}


OTHER = chat("other")["messages"]


@contextmanager
def asking(base: str, body: Any, path: str = "/v1/chat/completions") -> Iterator[HTTPConnection]:
    """A request that is sent; its answer is still to be read, and leaving is closing."""
    with closing(HTTPConnection(base, timeout=PATIENCE)) as connection:
        connection.request("POST", path, json.dumps(body))
        yield connection


def lines(response: HTTPResponse) -> Iterator[str]:
    """Those of a stream that are not empty."""
    return (line for raw in response if (line := raw.decode().strip()))


# Takes twice our patience when nobody ends it.
LONG = "one [[slow 0.15]] " + "more " * 800


@contextmanager
def occupied(base: str) -> Iterator[None]:
    """Somebody has the slot, until he leaves at the end."""
    with asking(base, chat(LONG, stream=True, user="first")) as connection:
        events = lines(connection.getresponse())
        while '"one ' not in next(events):
            pass
        yield


@contextmanager
def waiting(base: str, content: str, **more: Any) -> Iterator[Iterator[str]]:
    """The lines of a stream that has no slot yet, from the first."""
    with asking(base, chat(content, stream=True, **more)) as connection:
        response = connection.getresponse()
        assert response.status == 200
        yield lines(response)


def waiting_requests(base: str) -> int:
    with closing(HTTPConnection(base, timeout=PATIENCE)) as connection:
        connection.request("GET", "/healthz")
        [loaded] = json.load(connection.getresponse())["loaded"]
        return int(loaded["waiting"])


def text(stream: Iterator[str]) -> str:
    """What is said until the stream ends well."""
    *events, done = (line.removeprefix("data: ") for line in stream if not line.startswith(":"))
    assert done == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events]
    return "".join(delta.get("content", "") for delta in deltas)


def test_a_stream_that_waits_says_how_many_are_before_it(base: str) -> None:
    with (
        occupied(base),
        waiting(base, "two") as two,
        waiting(base, "three") as three,
    ):
        assert next(two) == ": queued, 0 ahead"
        assert next(three) == ": queued, 1 ahead"


def test_a_stream_that_waits_long_is_kept_open(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "HEARTBEAT", 0.1)
    with occupied(base), waiting(base, "two") as two:
        assert [next(two) for _ in range(3)] == [": queued, 0 ahead", ":", ":"]


def test_a_text_that_waits_says_so_too(base: str) -> None:
    body = {"model": "echo", "prompt": "two", "stream": True}
    with occupied(base), asking(base, body, "/v1/completions") as connection:
        assert next(lines(connection.getresponse())) == ": queued, 0 ahead"


def test_it_is_told_again_when_somebody_leaves_and_answered_in_its_turn(base: str) -> None:
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(occupied(base))
        two = second.enter_context(waiting(base, "two"))
        assert next(two) == ": queued, 0 ahead"
        with waiting(base, "three") as three:
            assert next(three) == ": queued, 1 ahead"
            second.close()
            assert next(three) == ": queued, 0 ahead"
            first.close()
            assert text(three) == "three"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat("other")),
        ("/v1/chat/completions", chat("other", stream=True)),
        ("/v1/completions", {"model": "echo", "prompt": "other"}),
        ("/v1/completions", {"model": "echo", "prompt": "other", "stream": True}),
        ("/v1/embeddings", {"model": "echo", "input": "other"}),
        ("/v1/messages", {**chat("other"), "max_tokens": 9, "metadata": {"user_id": "second"}}),
        ("/v1/responses", {"model": "echo", "input": "other", "store": False}),
        ("/v1/responses", {"model": "echo", "input": "other", "store": False, "stream": True}),
        ("/v1/threads/t/runs", {"model": "echo"}),
        ("/v1/threads/runs", {"model": "echo", "thread": {"messages": OTHER}}),
    ],
)
def test_people_whom_a_program_names_take_turns(
    base: str, write: Callable[..., Path], path: str, body: Any
) -> None:
    """Whoever has something before us lets those who came after it go first."""
    write("assistants/jan/assistant.json", {})
    write("threads/t/messages.jsonl", json.dumps(OTHER[0]))
    with ExitStack() as stack:
        stack.enter_context(occupied(base))
        two = stack.enter_context(waiting(base, "two", user="second"))
        assert next(two) == ": queued, 0 ahead"
        stack.enter_context(asking(base, {**body, "user": "second"}, path))
        while waiting_requests(base) < 2:
            pass
        three = stack.enter_context(waiting(base, "three", user="third"))
        assert next(three) == ": queued, 1 ahead"


def run_that_waits_for_its_calls(base: str) -> tuple[str, dict[str, Any]]:
    """The path of a run of the thread `t`, and the answers to the tool that it calls."""
    tool = {"type": "function", "function": {"name": "add"}}
    body = {"model": "echo", "tools": [tool], "stream": True}
    with asking(base, body, "/v1/threads/t/runs") as connection:
        events = [line for line in lines(connection.getresponse()) if line.startswith("data: {")]
    run = next(run for run in map(event_data, reversed(events)) if "required_action" in run)
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "7"} for call in calls]
    return f"/v1/threads/t/runs/{run['id']}", {"tool_outputs": outputs}


def event_data(line: str) -> dict[str, Any]:
    return dict(json.loads(line.removeprefix("data: ")))


def test_who_answers_a_runs_calls_is_told_apart_too(base: str, write: Callable[..., Path]) -> None:
    write("assistants/jan/assistant.json", {})
    call = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'
    write("threads/t/messages.jsonl", json.dumps({"role": "user", "content": call}))
    run, outputs = run_that_waits_for_its_calls(base)
    with ExitStack() as stack:
        stack.enter_context(occupied(base))
        two = stack.enter_context(waiting(base, "two", user="second"))
        assert next(two) == ": queued, 0 ahead"
        said = {**outputs, "user": "second"}
        stack.enter_context(asking(base, said, f"{run}/submit_tool_outputs"))
        while waiting_requests(base) < 2:
            pass
        three = stack.enter_context(waiting(base, "three", user="third"))
        assert next(three) == ": queued, 1 ahead"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", chat("other")),
        ("/api/embed", {"model": "echo", "input": "other"}),
    ],
)
def test_programs_that_speak_ollamas_api_take_turns(base: str, path: str, body: Any) -> None:
    with ExitStack() as stack:
        stack.enter_context(occupied(base))
        two = stack.enter_context(waiting(base, "two"))
        assert next(two) == ": queued, 0 ahead"
        stack.enter_context(asking(base, body, path))
        while waiting_requests(base) < 2:
            pass
        three = stack.enter_context(waiting(base, "three", user="third"))
        assert next(three) == ": queued, 1 ahead"


def test_without_names_the_program_is_one_caller(base: str) -> None:
    with occupied(base), waiting(base, "two") as two, waiting(base, "three") as three:
        assert [next(two), next(three)] == [": queued, 0 ahead", ": queued, 1 ahead"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat("long " * 3000)),
        ("/v1/chat/completions", chat("two", regex="[0-9]")),
        ("/v1/completions", {"model": "echo", "prompt": ["two", "long " * 3000]}),
        ("/v1/completions", {"model": "echo", "prompt": [10**6]}),
    ],
)
def test_what_is_wrong_is_a_400_that_waits_for_nobody(
    base: str, path: str, body: Any, stream: bool
) -> None:
    with occupied(base), asking(base, {**body, "stream": stream}, path) as connection:
        assert connection.getresponse().status == 400


@pytest.mark.parametrize("stream", [False, True])
def test_beyond_the_queue_it_is_a_429_that_says_when_to_come_again(
    data_folder: Path, echo: str, stream: bool
) -> None:
    settings = Settings(data_folder=data_folder, fsync=False, watch="off", max_queue=0)
    with served(settings) as base:
        host = base.removeprefix("http://")
        with occupied(host), asking(host, chat("two", stream=stream)) as connection:
            response = connection.getresponse()
            assert response.status == 429
            assert int(response.headers["retry-after"]) > 0
            assert json.load(response)["error"]["code"] == "queue_full"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat(LONG, stream=True)),
        ("/v1/chat/completions", chat(LONG)),
        ("/v1/chat/completions", chat(LONG, n=2)),
        ("/v1/completions", {"model": "echo", "prompt": LONG, "stream": True}),
        ("/v1/completions", {"model": "echo", "prompt": [LONG, "x"]}),
        ("/v1/embeddings", {"model": "echo", "input": [LONG, "x"]}),
    ],
)
def test_the_slot_of_a_client_that_leaves_is_for_the_next(base: str, path: str, body: Any) -> None:
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(asking(base, body, path))
        stream = second.enter_context(waiting(base, "two"))
        # Whoever sends nothing back may get the slot after us: ask until we have to wait.
        while next(stream) != ": queued, 0 ahead":
            second.close()
            stream = second.enter_context(waiting(base, "two"))
        first.close()
        assert text(stream) == "two"


def test_who_leaves_the_queue_is_not_answered(base: str) -> None:
    """Nothing is said to whoever wants a plain answer: who comes after him sees that he waits."""
    with occupied(base), ExitStack() as first, ExitStack() as second:
        first.enter_context(asking(base, chat("gone")))
        stream = second.enter_context(waiting(base, "two"))
        while next(stream) != ": queued, 1 ahead":
            second.close()
            stream = second.enter_context(waiting(base, "two"))
        first.close()
        assert next(stream) == ": queued, 0 ahead"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/responses", {"input": "hi"}),
    ],
)
def test_streams_of_other_apis_say_that_they_wait_too(
    base: str, path: str, body: dict[str, Any]
) -> None:
    asked = {"model": "echo", "stream": True, **body}
    with occupied(base), asking(base, asked, path) as connection:
        assert next(lines(connection.getresponse())) == ": queued, 0 ahead"


def test_ollamas_stream_waits_in_silence(base: str) -> None:
    asked = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(occupied(base))
        connection = second.enter_context(asking(base, asked, "/api/chat"))
        while waiting_requests(base) == 0:
            pass
        first.close()
        told = json.loads(next(lines(connection.getresponse())))
        assert told["message"]["content"] == "hi"
