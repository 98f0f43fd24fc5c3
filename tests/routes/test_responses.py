"""OpenAI's Responses over the wire, and what is kept of them in the folder."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing

import pytest
from starlette.testclient import TestClient

from jan_server.app import create_app
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.types.response import CreateResponse
from tests.conftest import BASE_URL, tree
from tests.remote.upstream import SECONDS, running, streaming

CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
TOOL = {"type": "function", "name": "add", "parameters": {"type": "object"}}
NOPE = {"type": "function", "name": "nope"}
ONLY_NOPE = {"type": "allowed_tools", "mode": "auto", "tools": [NOPE]}


@pytest.fixture
def ask(client, echo):
    def post(input="hello there", **more):
        return client.post("/v1/responses", json={"model": echo, "input": input, **more})

    return post


@pytest.fixture
def shown_echo(write, echo):
    """The echo engine with a template that shows who said what."""
    write("models/echo/model.json", {"engine": "echo"})
    return echo


def text(response):
    return "".join(
        part["text"]
        for item in response["output"]
        if item["type"] == "message"
        for part in item["content"]
    )


def events(answer):
    assert answer.status_code == 200
    *parts, end = answer.text.split("\n\n")
    assert end == ""
    named = [part.split("\n") for part in parts if not part.startswith(":")]
    told = [json.loads(data.removeprefix("data: ")) for _, data in named]
    assert [name for name, _ in named] == [f"event: {event['type']}" for event in told]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    return told


def lines(data_folder, name="messages.jsonl"):
    [path] = data_folder.glob(f"threads/*/{name}")
    return [json.loads(line) for line in path.read_text().splitlines()]


def said(data_folder):
    return [
        (line["role"], line["content"][0]["text"]["value"], line["status"])
        for line in lines(data_folder)
    ]


# --- answers ---------------------------------------------------------------------------------


def test_a_response_is_answered_and_its_conversation_is_a_thread(client, ask, data_folder):
    response = ask(metadata={"a": "b"}, temperature=0.5, instructions=None).json()
    assert (response["status"], text(response)) == ("completed", "hello there")
    assert (response["model"], response["metadata"]) == ("echo", {"a": "b"})
    assert (response["temperature"], response["error"]) == (0.5, None)
    assert response["usage"]["total_tokens"] == 4
    assert said(data_folder) == [
        ("user", "hello there", "ready"),
        ("assistant", "hello there", "ready"),
    ]
    [thread] = client.get("/v1/threads").json()
    assert thread["title"] == "hello there"
    assert response["id"].startswith(f"resp_{thread['id']}_")
    assert client.get(f"/v1/responses/{response['id']}").json() == response


def test_the_thread_of_a_response_knows_who_answered_and_as_what(client, ask):
    ask(instructions="Be brief.")
    [thread] = client.get("/v1/threads").json()
    [assistant] = thread["assistants"]
    assert (assistant["instructions"], assistant["model"]["id"]) == ("Be brief.", "echo")


def test_the_title_of_a_thread_is_the_beginning_of_what_was_asked(client, ask):
    ask("word\n" * 20)
    [thread] = client.get("/v1/threads").json()
    assert (thread["title"], len(thread["title"])) == ("word " * 11 + "word…", 60)


def test_a_thread_is_touched_by_its_responses(ask, data_folder):
    ask()
    [path] = data_folder.glob("threads/*/thread.json")
    end = time.monotonic() + SECONDS
    while (thread := json.loads(path.read_bytes()))["updated"] == thread["created"]:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_stream_tells_the_same_response(client, ask):
    told = events(ask(stream=True))
    assert told[0]["type"] == "response.created"
    assert "".join(e["delta"] for e in told if e["type"].endswith("text.delta")) == "hello there"
    last = told[-1]
    assert last["type"] == "response.completed"
    assert client.get(f"/v1/responses/{last['response']['id']}").json() == last["response"]


def test_a_response_goes_on_with_the_ones_before_and_not_with_their_instructions(
    client, ask, shown_echo, data_folder
):
    first = ask("one", instructions="Be brief.").json()
    assert "Be brief." in text(first)
    # The template would be said again and again: only who spoke is of interest.
    answered = lines(data_folder)[1]["id"]
    thread = first["id"].removeprefix("resp_").rpartition("_")[0]
    edited = client.patch(f"/v1/threads/{thread}/messages/{answered}", json={"content": "two"})
    assert edited.status_code == 200
    second = ask("three", previous_response_id=first["id"]).json()
    assert text(second) == (
        "<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\ntwo<|im_end|>\n"
        "<|im_start|>user\nthree<|im_end|>\n<|im_start|>assistant\n"
    )
    assert second["previous_response_id"] == first["id"]
    assert len(list(data_folder.glob("threads/*"))) == 1


def test_two_that_go_on_from_the_same_one_are_branches(ask, shown_echo):
    first = ask("one").json()
    left = ask("left", previous_response_id=first["id"]).json()
    right = ask("right", previous_response_id=first["id"]).json()
    assert "left" in text(left)
    assert "left" not in text(right)
    deeper = ask("deeper", previous_response_id=left["id"]).json()
    assert "left" in text(deeper)
    assert "right" not in text(deeper)


def test_responses_that_a_person_made_a_circle_of_are_gone_round_once(client, ask, data_folder):
    first = ask("one").json()["id"]
    second = ask("two", previous_response_id=first).json()["id"]
    circle = [
        json.dumps({**line, "previous_response_id": second})
        for line in lines(data_folder, "responses.jsonl")
    ]
    [path] = data_folder.glob("threads/*/responses.jsonl")
    path.write_text("\n".join([*circle, ""]))
    assert text(ask("three", previous_response_id=second).json()) == "twooneonetwothree"


def test_what_was_kept_is_there_after_a_restart_and_as_it_was_edited(
    client, ask, settings, data_folder
):
    id = ask().json()["id"]
    [path] = data_folder.glob("threads/*/messages.jsonl")
    user, assistant = path.read_text().splitlines()
    path.write_text(f"{user}\n{assistant.replace('hello there', 'by hand')}\n")
    assert text(client.get(f"/v1/responses/{id}").json()) == "by hand"
    path.write_text(f"{user}\n")
    with TestClient(create_app(settings), base_url=BASE_URL) as later:
        assert later.get(f"/v1/responses/{id}").json()["output"] == []
        more = {"model": "echo", "input": "more", "previous_response_id": id}
        answer = later.post("/v1/responses", json=more).json()
        assert text(answer) == "hello there\n\nmore"  # Two of a user's in a row are one turn.


def test_a_thread_that_was_renamed_is_found_and_one_that_was_deleted_is_a_404(
    client, ask, data_folder
):
    id = ask().json()["id"]
    [folder] = data_folder.glob("threads/*")
    folder = folder.rename(folder.with_name("holiday"))
    (folder / "thread.json").write_text("{}")  # It does not know its old name any more.
    assert client.get(f"/v1/responses/{id}").status_code == 200
    after = ask("more", previous_response_id=id).json()["id"]
    assert after.startswith("resp_holiday_")
    assert client.delete("/v1/threads/holiday").status_code == 200
    gone = client.get(f"/v1/responses/{after}")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "response_not_found")
    assert "It was kept in the thread 'holiday'." in gone.json()["message"]
    refused = ask("more", previous_response_id=after)
    assert refused.status_code == 404
    assert refused.json()["error"]["param"] == "$.previous_response_id"


def test_calls_and_results_are_kept_beside_the_messages(client, ask, data_folder, write):
    first = ask(CALL, tools=[TOOL]).json()
    [call] = [item for item in first["output"] if item["type"] == "function_call"]
    assert (call["name"], call["arguments"]) == ("add", '{"a": 1}')
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "it is 7"}
    second = ask([result], previous_response_id=first["id"], tools=[TOOL]).json()
    assert "it is 7" in text(second)
    [item] = client.get(f"/v1/responses/{second['id']}/input_items").json()["data"]
    assert item.pop("id").startswith("fco_")
    assert item == {**result, "status": "completed"}
    again = client.get(f"/v1/responses/{first['id']}").json()
    assert [each for each in again["output"] if each["type"] == "function_call"] == [call]
    wrong = {**result, "call_id": "nope"}
    refused = ask([wrong], previous_response_id=first["id"])
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "$.input[0].call_id")


def test_items_are_gone_on_with_by_reference(ask, data_folder):
    """As the AI SDK asks for a second turn: what was answered is only named."""
    output = ask(CALL, tools=[TOOL]).json()["output"]
    [call] = [item for item in output if item["type"] == "function_call"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "it is 7"}
    calls = [{"type": "item_reference", "id": call["id"]}, result]
    first = ask([{"role": "user", "content": "one"}, *calls], tools=[TOOL]).json()
    message = first["output"][-1]
    [answered] = data_folder.glob(f"threads/{_thread_of(message['id'])}/messages.jsonl")
    answered.write_text(answered.read_text().replace("it is 7", "it is 8"))
    asked = [{"role": "user", "content": "one"}, *calls, {"id": message["id"]}]
    second = ask([*asked, {"role": "user", "content": "two"}], tools=[TOOL])
    assert second.status_code == 200
    told = text(second.json())
    assert told.index("it is 7") < told.index("it is 8") < told.index("two")


def _thread_of(item_id):
    return item_id.partition("_")[2].rpartition("_")[0]


def test_a_reference_is_found_in_a_renamed_thread_and_to_nothing_is_a_404(ask, data_folder):
    def refer(id):
        return ask([{"type": "item_reference", "id": id}, {"role": "user", "content": "you"}])

    id = ask("hi").json()["output"][0]["id"]
    folder = data_folder / "threads" / _thread_of(id)
    folder = folder.rename(folder.with_name("holiday"))
    (folder / "thread.json").write_text("{}")
    assert text(refer(id).json()) == "hiyou"
    lines = (folder / "messages.jsonl").read_text().splitlines()
    (folder / "messages.jsonl").write_text(f"{lines[0]}\n")
    assert text(refer(id).json()) == "you"  # What was deleted by hand is left out.
    not_kept = ask("hi", store=False).json()["output"][0]["id"]
    for wrong, status in ((f"{id}x", 404), (not_kept, 404), ("msg_", 404), ("", 400)):
        refused = refer(wrong)
        assert (refused.status_code, refused.json()["error"]["param"]) == (status, "$.input[0].id")


def test_what_was_asked_is_listed(client, ask):
    roles = ["developer", "user", "assistant", "user"]
    items = [{"role": role, "content": f"{index}"} for index, role in enumerate(roles)]
    id = ask(items).json()["id"]
    listed = client.get(f"/v1/responses/{id}/input_items").json()
    assert [item["content"][0]["text"] for item in listed["data"]] == ["3", "2", "1", "0"]
    kinds = [(item["role"], item["content"][0]["type"]) for item in listed["data"][::-1]]
    assert kinds == [
        ("system", "input_text"),
        ("user", "input_text"),
        ("assistant", "output_text"),
        ("user", "input_text"),
    ]
    page = {"order": "asc", "limit": 2, "after": listed["data"][-1]["id"]}
    part = client.get(f"/v1/responses/{id}/input_items", params=page).json()
    assert [item["content"][0]["text"] for item in part["data"]] == ["1", "2"]
    assert part["has_more"]


def test_a_response_has_an_entity_tag_that_follows_its_messages(client, ask, data_folder):
    url = f"/v1/responses/{ask().json()['id']}"
    seen = client.get(url).headers["etag"]
    known = client.get(url, headers={"If-None-Match": seen})
    assert (known.status_code, known.content) == (304, b"")
    [path] = data_folder.glob("threads/*/messages.jsonl")
    path.write_text(path.read_text().replace("hello", "howdy"))
    assert client.get(url, headers={"If-None-Match": seen}).status_code == 200
    for name, value in (("If-Match", seen), ("If-None-Match", "*")):
        refused = client.delete(url, headers={name: value})
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            412,
            "precondition_failed",
        )
    now = client.get(url).headers["etag"]
    assert client.delete(url, headers={"If-Match": now}).status_code == 200
    assert client.get(url).status_code == 404


def test_a_deleted_response_is_gone_and_its_messages_stay(client, ask, data_folder):
    first = ask().json()["id"]
    second = ask("more", previous_response_id=first).json()["id"]
    deleted = client.delete(f"/v1/responses/{first}").json()
    assert deleted == {"id": first, "object": "response", "deleted": True}
    assert client.get(f"/v1/responses/{first}").status_code == 404
    assert client.delete(f"/v1/responses/{first}").status_code == 404
    assert len(lines(data_folder)) == 4
    assert text(ask("x", previous_response_id=second).json()).startswith("hello there")


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_not_stored_leaves_nothing(client, ask, data_folder, stream):
    kept = ask().json()["id"]
    before = tree(data_folder)
    answer = ask("more", store=False, previous_response_id=kept, stream=stream)
    response = events(answer)[-1]["response"] if stream else answer.json()
    assert (text(response), response["store"]) == ("hello therehello theremore", False)
    assert tree(data_folder) == before
    assert client.get(f"/v1/responses/{response['id']}").status_code == 404


def test_a_read_only_server_answers_what_is_not_stored(data_folder, echo):
    settings = Settings(data_folder=data_folder, read_only=True, watch="off")
    body = {"model": echo, "input": "hi"}
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        refused = client.post("/v1/responses", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "read_only")
        assert "`store: false`" in refused.json()["message"]
        assert client.post("/v1/responses", json={**body, "store": False}).status_code == 200


def test_an_answer_that_is_cut_off_is_incomplete(client, ask, data_folder):
    response = ask(max_output_tokens=1).json()
    assert (response["status"], text(response)) == ("incomplete", "hello ")
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert said(data_folder)[-1] == ("assistant", "hello ", "incomplete")
    assert client.get(f"/v1/responses/{response['id']}").json() == response


def test_likelihoods_are_told(ask):
    told = events(ask(stream=True, top_logprobs=1))
    tokens = [t["token"] for e in told if e["type"].endswith("text.delta") for t in e["logprobs"]]
    assert tokens == ["hello ", "there"]


# --- failures --------------------------------------------------------------------------------


def test_what_was_asked_is_kept_when_the_answer_fails(client, ask, data_folder):
    failed = ask("[[slow 0.2]] hello [[fail]]")
    assert failed.status_code == 500
    [user, assistant] = said(data_folder)
    assert user == ("user", "[[slow 0.2]] hello [[fail]]", "ready")
    assert assistant[2] == "incomplete"
    last = lines(data_folder, "responses.jsonl")[-1]
    assert (last["status"], last["error"]["code"]) == ("failed", "server_error")
    shown = client.get(f"/v1/responses/{last['id']}").json()
    assert (shown["status"], shown["output"][0]["status"]) == ("failed", "incomplete")


def test_a_stream_that_fails_ends_with_it(client, ask):
    told = events(ask("[[slow 0.2]] hello [[fail]]", stream=True))
    last = told[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    shown = client.get(f"/v1/responses/{last['response']['id']}").json()
    assert (shown["status"], shown["error"]) == ("failed", last["response"]["error"])


def test_what_is_wrong_is_a_status_before_anything_is_written(ask, data_folder):
    for more, status, param in (
        ({"model": "nope"}, 404, None),
        ({"input": []}, 400, "$.input"),
        ({"tool_choice": "required"}, 400, "$.tool_choice"),
        ({"background": True}, 400, "$.background"),
        ({"max_output_tokens": 2**40}, 400, "$.max_output_tokens"),
        ({"tools": [{**TOOL, "parameters": {"type": 7}}]}, 400, "$.tools[0].parameters"),
        ({"tools": [TOOL], "tool_choice": NOPE}, 400, "$.tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": ONLY_NOPE}, 400, "$.tool_choice.tools[0].name"),
        ({"tools": [TOOL], "tool_choice": {**ONLY_NOPE, "mode": "x"}}, 400, "$.tool_choice.mode"),
        ({"text": {"format": {"type": "json_object"}}}, 400, "$.text.format"),
        ({"previous_response_id": "resp_x"}, 404, "$.previous_response_id"),
        ({"previous_response_id": "resp_nowhere_1"}, 404, "$.previous_response_id"),
        ({"previous_response_id": "../x"}, 400, "$.previous_response_id"),
    ):
        answer = ask(**more)
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), more
    # That this model's engine cannot be held to a form is known when it is loaded.
    assert [line[0] for line in said(data_folder)] == ["user"]


def test_a_prompt_that_is_too_long_is_named(ask):
    answer = ask("word " * 3000)
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "$.input")


def test_who_leaves_stops_it_and_what_was_said_stays(settings, echo, data_folder):
    async def scene():
        services = Services(settings)
        services.start()
        sent = {"model": echo, "input": "[[slow 0.3]] one two three four five six"}
        responses = services.responses
        try:
            read = await responses.read(CreateResponse(model=echo, input=sent["input"]), sent)
            async with aclosing(responses.stream(read, client="")) as events:
                async for event in events:
                    if type(event).__name__ == "OutputTextDelta":
                        break
                again = CreateResponse(input="x", previous_response_id=_id_of(data_folder))
                with pytest.raises(Exception, match="is not over yet"):
                    await responses.read(again, {})
        finally:
            await services.close()

    asyncio.run(scene())
    [_, assistant] = said(data_folder)
    assert assistant[2] == "incomplete"
    last = lines(data_folder, "responses.jsonl")[-1]
    assert (last["status"], last["output"][0]["status"]) == ("cancelled", "incomplete")


def growing(settings, model, act):
    """The names of the events of a slow answer; `act` happens in a worker at each piece."""

    async def scene():
        services = Services(settings)
        services.start()
        sent = {"model": model, "input": "[[slow 0.3]] one two three four five six"}
        told = []
        try:
            read = await services.responses.read(CreateResponse(**sent), sent)
            async with aclosing(services.responses.stream(read, client="")) as events:
                async for event in events:
                    told.append(type(event).__name__)
                    if told[-1] == "OutputTextDelta":
                        await asyncio.to_thread(act, services)
        finally:
            await services.close()
        return told

    return asyncio.run(scene())


def test_an_answer_is_on_the_disk_while_it_grows(settings, echo, data_folder):
    seen = []

    def look(_services):
        [path] = data_folder.glob("threads/*/.reply-*.json")
        seen.append(json.loads(path.read_text())["content"])

    told = growing(settings, echo, look)
    assert told[-1] == "ResponseCompleted"
    assert seen[-1].startswith("[[slow ")  # Some of it, at least.
    assert not list(data_folder.glob("threads/*/.reply-*.json"))


def test_an_answer_whose_thread_is_deleted_meanwhile_has_failed(settings, echo, data_folder):
    def delete(services):
        for folder in data_folder.glob("threads/*"):
            services.store.threads.delete(folder.name)

    assert growing(settings, echo, delete)[-1] == "ResponseFailed"
    assert not list(data_folder.glob("threads/*"))


def _id_of(data_folder):
    return lines(data_folder, "responses.jsonl")[0]["id"]


def test_one_whose_server_died_has_failed_and_can_be_gone_on_with(client, ask, write):
    id = "resp_mine_1"
    write("threads/mine/thread.json", {})
    write("threads/mine/messages.jsonl", '{"id":"a","role":"user","content":"hi "}\n')
    record = {"id": id, "status": "in_progress", "created_at": 5, "model": "echo"}
    record["input"] = [{"type": "message", "message": "a"}]
    write("threads/mine/responses.jsonl", f'torn\n{{"id":1}}\n{json.dumps(record)}\n')
    shown = client.get(f"/v1/responses/{id}").json()
    assert (shown["status"], shown["error"]["code"]) == ("failed", "server_error")
    assert text(ask("you", previous_response_id=id).json()) == "hi \n\nyou"


def test_lines_by_hand_that_make_no_sense_are_left_out(client, ask, write):
    write("threads/mine/thread.json", {})
    write("threads/mine/messages.jsonl", '{"id":"a","role":"critic","content":"no"}\n')
    record = {
        "id": "resp_mine_1",
        "status": "completed",
        "created_at": 5,
        "input": [{"type": "message", "message": "a"}, {"type": "function_call", "name": 7}],
        "output": [{"type": "message", "message": "gone"}, {"type": "function_call", "name": 7}],
        "asked": {"temperature": "hot"},
    }
    write("threads/mine/responses.jsonl", f"{json.dumps(record)}\n")
    shown = client.get("/v1/responses/resp_mine_1").json()
    assert (shown["output"], shown["temperature"]) == ([], None)
    listed = client.get("/v1/responses/resp_mine_1/input_items").json()
    assert [item["type"] for item in listed["data"]] == ["function_call"]
    assert text(ask("hi", previous_response_id="resp_mine_1").json()) == "hi"


def test_a_broken_line_is_reported_with_its_place(client, ask, data_folder):
    ask()
    [path] = data_folder.glob("threads/*/responses.jsonl")
    path.write_text(path.read_text() + '{\n{"id":1}\n')
    findings = client.get("/v1/diagnostics").json()["findings"]
    assert [each["code"] for each in findings if each["file"].endswith("responses.jsonl")] == [
        "broken_line",
        "broken_line",
    ]


@pytest.mark.parametrize("wrong", ["a folder", "a link that leads out"])
def test_a_file_that_cannot_be_read_hides_only_its_own_responses(
    client, ask, write, data_folder, tmp_path, wrong
):
    write("threads/a/thread.json", {})
    path = data_folder / "threads/a/responses.jsonl"
    if wrong == "a folder":
        path.mkdir()
    else:
        (tmp_path / "outside.jsonl").write_text("{}\n")
        path.symlink_to(tmp_path / "outside.jsonl")
    answer = client.get("/v1/responses/resp_a_1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "file_unreadable")
    id = ask().json()["id"]
    [folder] = [path.parent for path in data_folder.glob("threads/jan*/responses.jsonl")]
    folder = folder.rename(folder.with_name("z"))
    (folder / "thread.json").write_text("{}")
    assert client.get(f"/v1/responses/{id}").status_code == 200


def test_nothing_is_in_the_background(client, ask):
    id = ask().json()["id"]
    cancelled = client.post(f"/v1/responses/{id}/cancel")
    assert (cancelled.status_code, cancelled.json()["error"]["code"]) == (400, "invalid_request")
    assert client.post("/v1/responses/resp_x/cancel").status_code == 404
    assert client.get(f"/v1/responses/{id}?stream=true").status_code == 400


def test_another_servers_model_answers_and_it_is_kept_here(ask, data_folder, write):
    with running() as upstream:
        settings = {"full_url": upstream.url}
        write("models/far/model.json", {"engine": "openai", "settings": settings})
        chunks = [
            {"choices": [{"delta": {"reasoning_content": "hm"}}]},
            {"choices": [{"delta": {"content": "Hi."}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}},
        ]
        data = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
        upstream.script = streaming(*data, b"data: [DONE]\n\n")
        response = ask("hi", model="far").json()
        seen = upstream.seen.get(timeout=SECONDS)
    assert seen.body["messages"] == [{"role": "user", "content": "hi"}]
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    assert (text(response), response["usage"]["input_tokens"]) == ("Hi.", 5)
    assert said(data_folder)[-1] == ("assistant", "Hi.", "ready")
