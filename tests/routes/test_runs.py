"""Runs over HTTP: what they write, tell and refuse. The SDKs drive the same in tests/clients."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from jan_server.app import create_app
from jan_server.settings import Settings
from tests import calling
from tests.conftest import BASE_URL

PATIENCE = 30
OPENAI = {"OpenAI-Beta": "assistants=v2"}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    },
}
ADDING = 'call add {"a": 1}'


@pytest.fixture(autouse=True)
def model(data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    calling.install(tmp_path / "engine", monkeypatch)
    return calling.put_model(data_folder)


@pytest.fixture
def write_thread(write: Callable[..., Path]) -> Callable[..., str]:
    """A thread as a person writes it by hand: its id."""

    def put(*lines: dict[str, Any], **thread: Any) -> str:
        write("threads/t/thread.json", {"title": "T", **thread})
        write("threads/t/messages.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        write("assistants/bob/assistant.json", {"name": "Bob", "model": "calling"})
        return "t"

    return put


@pytest.fixture
def thread(write_thread: Callable[..., str]) -> str:
    return write_thread({"id": "one", "role": "user", "content": "hello there you"})


class Api:
    """What tests ask of one thread's runs."""

    def __init__(self, client: TestClient, folder: Path) -> None:
        self.client = client
        self.folder = folder

    def post(self, path: str, **body: Any) -> httpx2.Response:
        return self.client.post(f"/v1/threads/t/runs{path}", json=body)

    def create(self, **body: Any) -> dict[str, Any]:
        answer = self.post("", **{"assistant_id": "bob", **body})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def get(self, path: str = "") -> dict[str, Any]:
        answer = self.client.get(f"/v1/threads/t/runs{path}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def until(self, id: str, *statuses: str) -> dict[str, Any]:
        """The run, as soon as its status is one of these."""
        end = time.monotonic() + PATIENCE
        while (run := self.get(f"/{id}"))["status"] not in statuses:
            assert run["status"] in ("queued", "in_progress", "cancelling"), run
            assert time.monotonic() < end, run
            time.sleep(0.01)
        return run

    def ended(self, **body: Any) -> dict[str, Any]:
        run = self.create(**body)
        return self.until(
            run["id"], "completed", "failed", "incomplete", "requires_action", "expired"
        )

    def streamed(self, path: str = "", **body: Any) -> list[tuple[str, Any]]:
        """Names and data of all events."""
        given = body if path else {"assistant_id": "bob", **body}
        answer = self.post(path, stream=True, **given)
        assert answer.status_code == 200, answer.text
        return events(answer.text)

    def messages(self) -> list[tuple[str, str]]:
        found = self.client.get("/v1/threads/t/messages").json()["data"]
        return [(each["role"], each["content"][0]["text"]["value"]) for each in found]

    def lines(self, file: str = "runs.jsonl") -> list[dict[str, Any]]:
        text = (self.folder / "threads/t" / file).read_text()
        return [json.loads(line) for line in text.splitlines()]


def events(text: str) -> list[tuple[str, Any]]:
    *told, done, end = text.split("\n\n")
    assert (done, end) == ("event: done\ndata: [DONE]", "")
    parts = [event.split("\n") for event in told if not event.startswith(":")]
    assert all(len(part) == 2 for part in parts)
    return [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in parts
    ]


def names(told: list[tuple[str, Any]]) -> list[str]:
    """In their order; of several deltas in a row one, as a busy machine sends them together."""
    return [name for name, _ in groupby(name for name, _ in told)]


@pytest.fixture
def api(client: TestClient, data_folder: Path, thread: str) -> Api:
    return Api(client, data_folder)


def test_a_reply_becomes_a_message_of_the_thread(api):
    run = api.create()
    assert (run["object"], run["status"], run["assistant_id"]) == ("thread.run", "queued", "bob")
    assert run["expires_at"] == run["created_at"] + 600
    run = api.until(run["id"], "completed")
    assert run["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert (run["last_error"], run["expires_at"], run["model"]) == (None, None, "calling")
    assert api.messages() == [("user", "hello there you"), ("assistant", "hello there you")]
    reply = api.lines("messages.jsonl")[1]
    assert (reply["run_id"], reply["assistant_id"], reply["status"]) == (run["id"], "bob", "ready")
    [step] = api.get(f"/{run['id']}/steps")["data"]
    assert step.pop("id").startswith("step_")
    assert step.pop("created_at") <= step.pop("completed_at")
    assert step == {
        "object": "thread.run.step",
        "run_id": run["id"],
        "thread_id": "t",
        "assistant_id": "bob",
        "type": "message_creation",
        "status": "completed",
        "step_details": {
            "type": "message_creation",
            "message_creation": {"message_id": reply["id"]},
        },
        "cancelled_at": None,
        "failed_at": None,
        "expired_at": None,
        "last_error": None,
        "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6},
        "metadata": {},
    }


def test_the_file_says_what_happened_from_top_to_bottom(api):
    id = api.ended()["id"]
    lines = api.lines()
    assert {line["id"] for line in lines} == {id}
    seen = list(dict.fromkeys(line["status"] for line in lines))
    assert seen == ["queued", "in_progress", "completed"]
    assert "steps" not in lines[0]
    assert [step["status"] for step in lines[-1]["steps"]] == ["completed"]


def test_events_come_in_openais_order(api):
    told = api.streamed()
    assert names(told) == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.message.created",
        "thread.message.in_progress",
        "thread.message.delta",
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
    ]
    by_name = dict(told)
    created = by_name["thread.message.created"]
    assert (created["content"], created["status"]) == ([], "in_progress")
    deltas = [data for name, data in told if name == "thread.message.delta"]
    said = [delta["delta"]["content"][0]["text"]["value"] for delta in deltas]
    text = {"value": said[0], "annotations": []}
    assert deltas[0] == {
        "id": created["id"],
        "object": "thread.message.delta",
        "delta": {"content": [{"index": 0, "type": "text", "text": text}]},
    }
    completed = by_name["thread.message.completed"]
    assert completed["content"][0]["text"]["value"] == "".join(said) == "hello there you"
    assert completed["status"] == "completed"
    assert by_name["thread.run.completed"]["usage"]["total_tokens"] == 6


def test_calls_wait_for_the_client_and_the_run_goes_on_with_what_came_of_them(api):
    words = {"role": "user", "content": ADDING}
    told = api.streamed(tools=[ADD], additional_messages=[words])
    assert names(told) == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.run.step.delta",
        "thread.run.requires_action",
    ]
    run = told[-1][1]
    assert (run["status"], run["usage"]) == ("requires_action", None)
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert call == {
        "id": call["id"],
        "type": "function",
        "function": {"name": "add", "arguments": '{"a": 1}'},
    }
    deltas = [data["delta"] for name, data in told if name == "thread.run.step.delta"]
    first, *more = (piece for delta in deltas for piece in delta["step_details"]["tool_calls"])
    function = {"name": "add", "arguments": ""}
    assert first == {"index": 0, "id": call["id"], "type": "function", "function": function}
    assert {(piece["index"], piece["type"]) for piece in more} == {(0, "function")}
    assert "".join(piece["function"]["arguments"] for piece in more) == '{"a": 1}'
    outputs = [{"tool_call_id": call["id"], "output": "three"}]
    told = api.streamed(f"/{run['id']}/submit_tool_outputs", tool_outputs=outputs)
    assert names(told) == [
        "thread.run.step.completed",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.message.created",
        "thread.message.in_progress",
        "thread.message.delta",
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
    ]
    assert api.messages()[-1] == ("assistant", "It is three.")
    calling, speaking = api.get(f"/{run['id']}/steps")["data"]
    assert calling["step_details"]["tool_calls"][0]["function"]["output"] == "three"
    assert (calling["type"], calling["status"]) == ("tool_calls", "completed")
    ended = told[-1][1]
    used = [step["usage"]["total_tokens"] for step in (calling, speaking)]
    assert ended["usage"]["total_tokens"] == sum(used)


def test_what_is_said_before_a_call_is_a_message_of_its_own(api):
    words = {"role": "user", "content": f"I add now.\n{ADDING}\n{ADDING}"}
    run = api.ended(tools=[ADD], additional_messages=[words])
    assert run["status"] == "requires_action"
    said, called = api.get(f"/{run['id']}/steps")["data"]
    assert (said["type"], said["status"]) == ("message_creation", "completed")
    assert (called["type"], called["status"]) == ("tool_calls", "in_progress")
    assert len(called["step_details"]["tool_calls"]) == 2
    assert api.messages()[-1] == ("assistant", "I add now.")
    calls = [call["id"] for call in called["step_details"]["tool_calls"]]
    answer = api.post(
        f"/{run['id']}/submit_tool_outputs", tool_outputs=[{"tool_call_id": calls[0]}]
    )
    assert answer.status_code == 400
    assert f"Expected tool outputs for call_ids {calls}" in answer.json()["message"]
    assert answer.json()["error"]["param"] == "$.tool_outputs"
    outputs = [{"tool_call_id": id, "output": text} for id, text in zip(calls, "12", strict=True)]
    outputs.reverse()  # They may come in any order.
    answer = api.post(f"/{run['id']}/submit_tool_outputs", tool_outputs=outputs)
    assert answer.json()["status"] == "queued"
    assert api.until(run["id"], "completed", "failed")["last_error"] is None
    assert api.messages()[-1] == ("assistant", "It is 1 and 2.")


@pytest.mark.parametrize("said", [{}, {"output": None}])
def test_a_call_that_nothing_came_of_has_an_empty_output(api, said):
    run = api.ended(tools=[ADD], additional_messages=[{"role": "user", "content": ADDING}])
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], **said}]
    api.post(f"/{run['id']}/submit_tool_outputs", tool_outputs=outputs)
    assert api.until(run["id"], "completed", "failed")["last_error"] is None
    calling, _ = api.get(f"/{run['id']}/steps")["data"]
    assert calling["step_details"]["tool_calls"][0]["function"]["output"] == ""


def test_the_users_words_are_on_the_disk_before_the_model_is_asked(api):
    words = {"role": "user", "content": "[[fail]]", "metadata": {"a": "b"}}
    run = api.ended(additional_messages=[words])
    assert (run["status"], run["last_error"]["code"]) == ("failed", "server_error")
    assert run["failed_at"] >= run["created_at"]
    last = api.lines("messages.jsonl")[1]
    assert (last["content"][0]["text"]["value"], last["metadata"]) == ("[[fail]]", {"a": "b"})


def test_what_fails_midway_keeps_what_was_said(api):
    told = api.streamed(additional_messages=[{"role": "user", "content": "one two [[fail]]"}])
    assert names(told)[-3:] == [
        "thread.message.incomplete",
        "thread.run.step.failed",
        "thread.run.failed",
    ]
    message, step, run = (data for _, data in told[-3:])
    assert message["incomplete_details"] == {"reason": "run_failed"}
    assert message["content"][0]["text"]["value"] == "one two "
    assert step["last_error"] == run["last_error"]
    assert api.lines("messages.jsonl")[-1]["status"] == "incomplete"


def test_instructions_come_first_and_more_can_be_added(api, write):
    write("assistants/bob/assistant.json", {"model": "calling", "instructions": "Be kind."})
    assert api.ended()["instructions"] == "Be kind."
    assert api.ended(additional_instructions="And brief.")["instructions"] == "Be kind.\nAnd brief."
    run = api.ended(instructions="Be blunt.", additional_instructions="Now.")
    assert run["instructions"] == "Be blunt.\nNow."
    # "Be", "blunt.", "Now.<user>hello" ...: what the model read.
    assert run["usage"]["prompt_tokens"] == 11


def test_an_assistants_file_may_leave_room_for_the_date(api, write):
    said = "Today is {{current_date}}, {{ Current_Date }}."
    write("assistants/bob/assistant.json", {"model": "calling", "instructions": said})
    earliest = datetime.now(UTC).date()
    told = api.ended()["instructions"]
    first, second = re.findall(r"[A-Z][a-z]+ [1-9][0-9]?, \d{4}", told)
    assert told == f"Today is {first}, {second}."
    day = datetime.strptime(first, "%B %d, %Y").replace(tzinfo=UTC).date()
    assert first == second
    assert earliest <= day <= datetime.now(UTC).date()
    assert api.ended(instructions=said)["instructions"] == said


def test_bounds_end_a_run_as_incomplete(api):
    run = api.ended(max_completion_tokens=2)
    assert run["status"] == "incomplete"
    assert run["incomplete_details"] == {"reason": "max_completion_tokens"}
    assert run["usage"]["completion_tokens"] == 2
    message = api.client.get("/v1/threads/t/messages", headers=OPENAI).json()["data"][0]
    assert message["status"] == "incomplete"
    assert message["incomplete_details"] == {"reason": "max_tokens"}
    assert message["content"][0]["text"]["value"] == "hello there "
    run = api.ended(max_prompt_tokens=1)
    assert run["incomplete_details"] == {"reason": "max_prompt_tokens"}


def test_a_prompt_bound_leaves_out_the_oldest_messages(api):
    api.ended()
    run = api.ended(additional_messages=[{"role": "user", "content": "a b"}], max_prompt_tokens=3)
    assert (run["status"], run["usage"]["prompt_tokens"]) == ("completed", 2)


def test_a_bound_counts_for_the_whole_run(api):
    words = {"role": "user", "content": ADDING}
    run = api.ended(tools=[ADD], additional_messages=[words], max_completion_tokens=7)
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "so and so and so on"}]
    api.post(f"/{run['id']}/submit_tool_outputs", tool_outputs=outputs)
    run = api.until(run["id"], "completed", "incomplete")
    assert run["incomplete_details"] == {"reason": "max_completion_tokens"}
    assert run["usage"]["completion_tokens"] == 7


def test_only_the_last_messages_are_read_where_that_is_asked_for(api):
    api.ended()
    words = [{"role": "user", "content": "one two"}]
    strategy = {"type": "last_messages", "last_messages": 1}
    run = api.ended(additional_messages=words, truncation_strategy=strategy)
    assert run["usage"]["prompt_tokens"] == 2
    assert run["truncation_strategy"] == strategy


def test_a_thread_has_one_run_at_a_time(api):
    slow = {"role": "user", "content": "[[slow 0.05]] " + "on and on " * 200}
    run = api.create(additional_messages=[slow])
    answer = api.post("", assistant_id="bob", additional_messages=[slow])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "run_active")
    assert answer.json()["message"] == f"Thread t already has an active run {run['id']}."
    post = api.client.post
    new = {"role": "user", "content": "x"}
    answer = post("/v1/threads/t/messages", json=new, headers=OPENAI)
    assert answer.status_code == 400
    assert answer.json()["message"] == (
        f"Can't add messages to t while a run {run['id']} is active."
    )
    # Jan's own clients may always write, as a hand may.
    assert post("/v1/threads/t/messages", json=new).status_code == 200
    assert len(api.lines("messages.jsonl")) == 3
    assert api.post(f"/{run['id']}/cancel").json()["status"] == "cancelling"
    assert api.until(run["id"], "cancelled")["cancelled_at"] is not None
    assert post("/v1/threads/t/messages", json=new, headers=OPENAI).status_code == 200


def test_what_a_cancelled_run_has_said_stays(api):
    slow = {"role": "user", "content": "[[slow 0.02]] " + "on and on " * 500}
    run = api.create(additional_messages=[slow])
    end = time.monotonic() + PATIENCE
    while not (found := api.messages()[2:]) or not found[0][1]:
        assert time.monotonic() < end
        time.sleep(0.02)
    [reply] = api.client.get("/v1/threads/t/messages").json()["data"][2:]
    assert reply["status"] == "in_progress"
    api.post(f"/{run['id']}/cancel")
    run = api.until(run["id"], "cancelled")
    assert run["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    line = api.lines("messages.jsonl")[-1]
    assert (line["id"], line["status"]) == (reply["id"], "incomplete")
    assert line["incomplete_details"] == {"reason": "run_cancelled"}
    assert line["content"][0]["text"]["value"].startswith("[[slow")
    [step] = api.get(f"/{run['id']}/steps")["data"]
    assert (step["status"], step["cancelled_at"]) == ("cancelled", run["cancelled_at"])
    answer = api.post(f"/{run['id']}/cancel")
    assert answer.json()["message"] == "Cannot cancel run with status 'cancelled'."
    assert answer.status_code == 400


def test_a_run_that_waits_for_its_client_is_cancelled_at_once(api):
    run = api.ended(tools=[ADD], additional_messages=[{"role": "user", "content": ADDING}])
    cancelled = api.post(f"/{run['id']}/cancel").json()
    assert (cancelled["status"], cancelled["required_action"]) == ("cancelled", None)
    answer = api.post(f"/{run['id']}/submit_tool_outputs", tool_outputs=[{"tool_call_id": "x"}])
    assert answer.json()["message"] == ('Runs in status "cancelled" do not accept tool outputs.')


def test_a_run_that_is_being_answered_waits_for_no_outputs(api):
    slow = {"role": "user", "content": "[[slow 0.05]] " + "on and on " * 200}
    run = api.create(additional_messages=[slow])
    answer = api.post(f"/{run['id']}/submit_tool_outputs", tool_outputs=[{"tool_call_id": "x"}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "run_not_active")
    api.post(f"/{run['id']}/cancel")
    api.until(run["id"], "cancelled")


def test_outputs_for_what_is_never_a_run_are_refused(api):
    outputs = [{"tool_call_id": "x"}]
    answer = api.post(f"/{'x' * 300}/submit_tool_outputs", tool_outputs=outputs)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_id")


def test_outputs_for_a_run_that_a_hand_has_mended_badly_are_refused(api, write):
    line = {"id": "run_x", "created_at": 1, "assistant_id": "bob", "thread_id": "t", "model": "m"}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [call]}}
    told = {**line, "status": "requires_action", "required_action": action}
    write("threads/t/runs.jsonl", json.dumps(told) + "\n")
    answer = api.post("/run_x/submit_tool_outputs", tool_outputs=[{"tool_call_id": "c"}])
    assert answer.json()["message"] == "Expected tool outputs for call_ids [], got ['c']."
    assert api.post("/run_x/cancel").json()["status"] == "cancelled"


def test_outputs_that_come_too_late_are_refused(api):
    run = api.ended(tools=[ADD], additional_messages=[{"role": "user", "content": ADDING}])
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    over = {**api.lines()[-1], "expires_at": int(time.time()) - 1}
    with (api.folder / "threads/t/runs.jsonl").open("a") as file:
        file.write(json.dumps(over) + "\n")
    outputs = [{"tool_call_id": call["id"], "output": "three"}]
    answer = api.post(f"/{run['id']}/submit_tool_outputs", tool_outputs=outputs)
    assert answer.json()["message"] == 'Runs in status "expired" do not accept tool outputs.'


def test_a_run_expires_while_it_waits_for_its_client(api):
    run = api.ended(tools=[ADD], additional_messages=[{"role": "user", "content": ADDING}])
    over = {**api.lines()[-1], "expires_at": int(time.time()) - 1}
    with (api.folder / "threads/t/runs.jsonl").open("a") as file:
        file.write(json.dumps(over) + "\n")
    assert api.get(f"/{run['id']}")["status"] == "expired"
    [step] = api.get(f"/{run['id']}/steps")["data"]
    assert step["status"] == "expired"
    assert api.lines()[-1]["status"] == "expired"
    assert api.ended()["status"] == "completed"


def test_a_run_that_nobody_answers_has_failed(api, write):
    """Its server was killed: what it had said is where every crashed reply is found."""
    line = {"id": "run_x", "created_at": 1, "assistant_id": "bob", "thread_id": "t", "model": "m"}
    write("threads/t/runs.jsonl", json.dumps({**line, "status": "in_progress"}) + "\n")
    reply = {"role": "assistant", "run_id": "run_x", "content": "so far", "id": "r", "created": 1}
    write("threads/t/.reply-r.json", reply)
    run = api.get("/run_x")
    assert (run["status"], run["last_error"]["code"]) == ("failed", "server_error")
    assert [line["status"] for line in api.lines()] == ["in_progress", "failed"]
    assert api.messages()[-1] == ("assistant", "so far")
    assert api.lines("messages.jsonl")[-1]["status"] == "incomplete"
    assert api.ended()["status"] == "completed"


@pytest.mark.parametrize("status", ["queued", "cancelling"])
def test_one_that_was_queued_or_being_cancelled_is_over_too(api, write, status):
    line = {"id": "run_x", "created_at": 1, "assistant_id": "bob", "thread_id": "t", "model": "m"}
    write("threads/t/runs.jsonl", json.dumps({**line, "status": status}) + "\n")
    ended = {"queued": "failed", "cancelling": "cancelled"}[status]
    assert [run["status"] for run in api.get()["data"]] == [ended]


def test_a_model_that_says_nothing_has_said_nothing(api, write):
    write("assistants/bob/assistant.json", {"model": "calling", "parameters": {"stop": ["hello"]}})
    told = api.streamed()
    assert api.messages()[-1] == ("assistant", "")
    assert names(told)[-3:] == [
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
    ]


def test_a_thread_that_says_nothing_is_answered_only_with_instructions(client, data_folder, write):
    write("threads/t/thread.json", {})
    write("assistants/bob/assistant.json", {"model": "calling"})
    api = Api(client, data_folder)
    run = api.ended()
    assert (run["status"], run["last_error"]["code"]) == ("failed", "invalid_prompt")
    assert "nothing to answer" in run["last_error"]["message"]
    assert api.ended(instructions="Greet.")["status"] == "completed"


def test_what_this_model_cannot_see_is_said(api):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,x"}}
    run = api.ended(additional_messages=[{"role": "user", "content": [image]}])
    assert (run["status"], run["last_error"]["code"]) == ("failed", "invalid_prompt")
    assert "reads text only" in run["last_error"]["message"]
    assert api.lines("messages.jsonl")[-1]["content"] == [image]


def test_metadata_is_changed_and_stays(api):
    run = api.ended(metadata={"a": "1"})
    assert run["metadata"] == {"a": "1"}
    changed = api.post(f"/{run['id']}", metadata={"a": "2"}).json()
    assert (changed["metadata"], changed["status"]) == ({"a": "2"}, "completed")
    assert api.get(f"/{run['id']}")["metadata"] == {"a": "2"}
    assert api.post(f"/{run['id']}").json()["metadata"] == {"a": "2"}
    assert api.post(f"/{run['id']}", metadata=None).json()["metadata"] == {}


def test_a_run_and_its_step_have_entity_tags(api):
    url = f"/v1/threads/t/runs/{api.ended()['id']}"
    [step] = api.client.get(f"{url}/steps").json()["data"]
    for one in (url, f"{url}/steps/{step['id']}"):
        first = api.client.get(one)
        again = api.client.get(one, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert api.client.get(one, headers={"If-Match": '"other"'}).status_code == 412


@pytest.mark.parametrize("body", [{"metadata": {"a": "2"}}, {}], ids=["changed", "as it is"])
def test_a_run_that_is_not_as_it_was_seen_stays_as_it_is(api, body):
    url = f"/v1/threads/t/runs/{api.ended()['id']}"
    seen = api.client.get(url).headers["etag"]
    changed = api.client.post(url, json={"metadata": {"a": "1"}}, headers={"If-Match": seen})
    assert changed.headers["etag"] == api.client.get(url).headers["etag"] != seen
    there = api.lines()
    refused = api.client.post(url, json=body, headers={"If-Match": seen})
    assert (refused.status_code, refused.json()["error"]["code"]) == (412, "precondition_failed")
    assert api.lines() == there


def test_so_does_one_that_is_being_answered(api):
    slow = {"role": "user", "content": "[[slow 0.02]] " + "on and on " * 20}
    run = api.create(additional_messages=[slow])
    url = f"/v1/threads/t/runs/{run['id']}"
    refused = api.client.post(url, json={"metadata": {"a": "1"}}, headers={"If-Match": '"other"'})
    assert refused.status_code == 412
    assert api.until(run["id"], "completed")["metadata"] == {}


def test_metadata_given_meanwhile_is_not_lost(api):
    slow = {"role": "user", "content": "[[slow 0.02]] " + "on and on " * 20}
    run = api.create(additional_messages=[slow])
    api.post(f"/{run['id']}", metadata={"a": "b"})
    assert api.until(run["id"], "completed")["metadata"] == {"a": "b"}
    assert api.lines()[-1]["metadata"] == {"a": "b"}


def test_lists_are_paged_as_openais(api):
    made = [api.ended()["id"] for _ in range(3)]
    listed = api.client.get("/v1/threads/t/runs?limit=2", headers=OPENAI).json()
    assert [run["id"] for run in listed["data"]] == made[:0:-1]
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (True, made[2], made[1])
    rest = api.client.get(f"/v1/threads/t/runs?after={made[1]}", headers=OPENAI).json()
    assert [run["id"] for run in rest["data"]] == [made[0]]
    assert [run["id"] for run in api.get()["data"]] == made
    [step] = api.get(f"/{made[0]}/steps")["data"]
    assert api.get(f"/{made[0]}/steps/{step['id']}") == step


def test_messages_of_one_run_are_listed(api):
    first, second = api.ended(), api.ended()
    for run in (first, second):
        listed = api.client.get(f"/v1/threads/t/messages?run_id={run['id']}").json()["data"]
        assert [message["run_id"] for message in listed] == [run["id"]]
    assert api.client.get("/v1/threads/t/messages?run_id=run_no").json()["data"] == []


def test_a_waiting_client_is_told_when_to_ask_again(api):
    slow = {"role": "user", "content": "[[slow 0.05]] " + "on and on " * 200}
    run = api.create(additional_messages=[slow])
    path = f"/v1/threads/t/runs/{run['id']}"
    assert api.client.get(path).headers["openai-poll-after-ms"] == "100"
    api.post(f"/{run['id']}/cancel")
    api.until(run["id"], "cancelled")
    assert "openai-poll-after-ms" not in api.client.get(path).headers


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"assistant_id": "nobody"}, 404, "assistant_not_found", None),
        ({"assistant_id": "../x"}, 400, "invalid_id", "$.assistant_id"),
        ({"model": "nothing"}, 404, "model_not_found", None),
        ({"temperature": 3}, 400, "invalid_request", "$.temperature"),
        ({"max_prompt_tokens": 0}, 400, "invalid_request", "$.max_prompt_tokens"),
        (
            {"tools": [{"type": "code_interpreter"}]},
            400,
            "unsupported_parameter",
            "$.tools[0].type",
        ),
        (
            {"tools": [ADD, {"type": "file_search"}]},
            400,
            "unsupported_parameter",
            "$.tools[1].type",
        ),
        ({"tools": [ADD, ADD]}, 400, "invalid_request", "$.tools[1].function.name"),
        ({"tools": [{"type": "function"}]}, 400, "invalid_request", "$.tools[0]"),
        (
            {"tools": [ADD], "tool_choice": {"type": "function", "function": {"name": "no"}}},
            400,
            "invalid_request",
            "$.tool_choice.function.name",
        ),
        ({"tool_choice": "required"}, 400, "invalid_request", "$.tool_choice"),
        ({"response_format": {"type": "xml"}}, 400, "invalid_request", "$.response_format.type"),
        (
            {"additional_messages": [{"role": "user", "content": [{"type": "text"}]}]},
            400,
            "invalid_request",
            "$.additional_messages[0].content[0].text",
        ),
    ],
)
def test_what_can_be_known_before_is_a_status_and_writes_nothing(api, body, status, code, param):
    answer = api.post("", **{"assistant_id": "bob", **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert not (api.folder / "threads/t/runs.jsonl").exists()
    assert len(api.lines("messages.jsonl")) == 1


def test_what_is_not_there_is_not_found(api):
    for path, code in [
        ("/v1/threads/none/runs", "thread_not_found"),
        ("/v1/threads/t/runs/run_1", "run_not_found"),
        ("/v1/threads/t/runs/run_1/steps", "run_not_found"),
    ]:
        answer = api.client.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)
    id = api.ended()["id"]
    answer = api.client.get(f"/v1/threads/t/runs/{id}/steps/none")
    assert answer.json()["error"]["code"] == "run_step_not_found"
    answer = api.client.post("/v1/threads/none/runs", json={"assistant_id": "bob"})
    assert answer.json()["error"]["code"] == "thread_not_found"


def test_a_thread_and_its_run_are_made_together(api):
    body = {
        "assistant_id": "bob",
        "thread": {"messages": [{"role": "user", "content": "hi you"}], "metadata": {"a": "b"}},
        "stream": True,
    }
    answer = api.client.post("/v1/threads/runs", json=body)
    told = events(answer.text)
    assert names(told)[:3] == [
        "thread.created",
        "thread.run.created",
        "thread.run.queued",
    ]
    thread, run = told[0][1], told[-1][1]
    assert (thread["metadata"], thread["tool_resources"]) == ({"a": "b"}, {})
    assert (run["status"], run["thread_id"]) == ("completed", thread["id"])
    assert thread["id"].startswith("bob_")
    listed = api.client.get(f"/v1/threads/{thread['id']}/messages").json()["data"]
    assert [m["content"][0]["text"]["value"] for m in listed] == ["hi you"] * 2


def test_a_thread_is_not_made_for_a_run_that_cannot_be(api):
    answer = api.client.post("/v1/threads/runs", json={"assistant_id": "nobody"})
    assert answer.status_code == 404
    answer = api.client.post(
        "/v1/threads/runs", json={"assistant_id": "bob", "model": "nothing", "thread": {}}
    )
    assert answer.status_code == 404
    assert [path.name for path in (api.folder / "threads").iterdir()] == ["t"]


def test_a_run_without_an_assistant_takes_the_threads(client, data_folder, write_thread):
    assistants = [
        {"assistant_id": "amy", "instructions": "Sing.", "model": {"id": "calling"}},
        {"assistant_id": "bob"},
    ]
    write_thread({"role": "user", "content": "hi"}, assistants=assistants)
    run = Api(client, data_folder).ended(assistant_id=None)
    assert (run["assistant_id"], run["instructions"], run["status"]) == (
        "amy",
        "Sing.",
        "completed",
    )


def test_the_thread_says_more_than_the_assistant_and_the_request_more_than_both(
    client, data_folder, write_thread, write
):
    words = {"role": "user", "content": "one two three four five"}
    in_thread = {"assistant_id": "bob", "model": {"parameters": {"max_tokens": 3}}}
    write_thread(words, assistants=[in_thread])
    api = Api(client, data_folder)
    file = {"model": "calling", "parameters": {"max_tokens": 2, "stop": ["three "]}}
    write("assistants/bob/assistant.json", file)
    assert api.ended()["usage"]["completion_tokens"] == 2  # Stopped before the third word.
    write("assistants/bob/assistant.json", {"model": "calling", "parameters": {"max_tokens": 2}})
    assert api.ended()["usage"]["completion_tokens"] == 3
    assert api.ended(max_completion_tokens=4)["usage"]["completion_tokens"] == 4


def test_deleting_a_thread_takes_its_runs_along(api):
    id = api.ended()["id"]
    [thread] = [api.client.delete("/v1/threads/t").json()]
    assert thread["deleted"]
    assert api.client.get(f"/v1/threads/t/runs/{id}").status_code == 404
    [deletion] = api.client.get("/v1/trash").json()["data"]
    api.client.post(f"/v1/trash/{deletion['id']}/restore")
    assert api.get(f"/{id}")["status"] == "completed"


def test_a_run_whose_thread_is_deleted_ends(api):
    slow = {"role": "user", "content": "[[slow 0.05]] " + "on and on " * 500}
    api.create(additional_messages=[slow])
    api.client.delete("/v1/threads/t")
    runs = api.client.app.state.services.runs
    end = time.monotonic() + PATIENCE
    while repr(runs) != "<Runs 0 are answered>":
        assert time.monotonic() < end, runs
        time.sleep(0.02)
    assert not (api.folder / "threads/t").exists()


def test_a_server_that_is_stopped_says_so_in_its_runs(settings, data_folder, thread):
    slow = {"role": "user", "content": "[[slow 0.05]] " + "on and on " * 500}
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        api = Api(client, data_folder)
        api.create(additional_messages=[slow])
        end = time.monotonic() + PATIENCE
        while len(api.messages()) < 3:
            assert time.monotonic() < end
            time.sleep(0.02)
    assert api.lines()[-1]["status"] == "failed"
    assert api.lines()[-1]["last_error"]["code"] == "server_error"
    assert api.lines("messages.jsonl")[-1]["status"] == "incomplete"


def test_a_read_only_server_shows_runs_and_begins_none(settings, data_folder, thread, write):
    line = {"id": "run_x", "created_at": 1, "assistant_id": "bob", "thread_id": "t", "model": "m"}
    path = write("threads/t/runs.jsonl", json.dumps({**line, "status": "in_progress"}) + "\n")
    before = path.read_bytes()
    reading = Settings(data_folder=data_folder, read_only=True, watch="off")
    with TestClient(create_app(reading), base_url=BASE_URL) as client:
        api = Api(client, data_folder)
        assert api.get("/run_x")["status"] == "in_progress"
        assert api.post("", assistant_id="bob").status_code == 403
    assert path.read_bytes() == before


@pytest.fixture
def other(settings: Settings, data_folder: Path, api: Api) -> Iterator[Api]:
    """Another server on the same folder."""
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        yield Api(client, data_folder)


def test_another_server_sees_the_run_and_can_cancel_it(api, other):
    slow = {"role": "user", "content": "[[slow 0.02]] " + "on and on " * 500}
    run = api.create(additional_messages=[slow])
    other.until(run["id"], "in_progress")
    answer = other.post("", assistant_id="bob")
    assert answer.json()["error"]["code"] == "run_active"
    assert other.post(f"/{run['id']}/cancel").json()["status"] == "cancelling"
    assert api.until(run["id"], "cancelled")["status"] == "cancelled"
    assert other.get(f"/{run['id']}")["status"] == "cancelled"


def test_another_server_can_go_on_with_a_run_that_waits(api, other):
    run = api.ended(tools=[ADD], additional_messages=[{"role": "user", "content": ADDING}])
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "three"}]
    told = other.streamed(f"/{run['id']}/submit_tool_outputs", tool_outputs=outputs)
    assert told[-1][0] == "thread.run.completed"
    assert api.get(f"/{run['id']}")["status"] == "completed"
