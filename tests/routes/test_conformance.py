"""The server is as its OpenAPI document says: what it answers, and what it takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from starlette.testclient import TestClient

from tests import calling

Document = dict[str, Any]
MESSAGE = {"role": "user", "content": "hi"}


@pytest.fixture
def document(client: TestClient) -> Document:
    return dict(client.get("/openapi.json").json())


@pytest.fixture(autouse=True)
def folder(write: Callable[..., Path], echo: str) -> None:
    write("threads/t/thread.json", {"title": "T"})
    write("threads/t/messages.jsonl", json.dumps({"id": "one", **MESSAGE}) + "\n")
    write("assistants/bob/assistant.json", {"name": "Bob"})


def fits(document: Document, schema: Any, value: Any) -> bool:
    return bool(validator(document, schema).is_valid(value))


def check(document: Document, schema: Any, value: Any) -> None:
    validator(document, schema).validate(value)


def validator(document: Document, schema: Any) -> Any:
    return jsonschema.Draft202012Validator({**schema, "components": document["components"]})


def request_of(operation: Any) -> Any:
    return operation["requestBody"]["content"]["application/json"]["schema"]


def answer_of(operation: Any, kind: str = "application/json") -> Any:
    return operation["responses"]["200"]["content"][kind]["schema"]


@pytest.mark.parametrize(
    ("path", "ids", "sent"),
    [
        ("/threads/{thread_id}", {"thread_id": "t"}, 4),
        ("/threads/{thread_id}/messages/{message_id}", {"thread_id": "t", "message_id": "one"}, 4),
        ("/assistants/{assistant_id}", {"assistant_id": "bob"}, 5),
        ("/models/{model_id}", {"model_id": "echo"}, 6),
    ],
)
def test_null_comes_back_where_it_may_be_sent(client, document, path, ids, sent):
    item = document["paths"][path]
    ref = request_of(item["patch"])["$ref"].rpartition("/")[2]
    known = document["components"]["schemas"][ref]["properties"]
    names = [name for name, schema in known.items() if fits(document, schema, None)]
    assert len(names) >= sent
    for name in names:
        changed = client.patch(f"/v1{path.format(**ids)}", json={name: None})
        assert changed.status_code == 200, changed.text
        check(document, answer_of(item["patch"]), changed.json())
    check(document, answer_of(item["get"]), client.get(f"/v1{path.format(**ids)}").json())


@pytest.mark.parametrize(
    ("path", "url", "body"),
    [
        ("/threads", "/v1/threads", {}),
        ("/assistants", "/v1/assistants", {}),
        ("/threads/{thread_id}/messages", "/v1/threads/t/messages", MESSAGE),
    ],
)
@pytest.mark.parametrize(
    ("id", "taken"),
    [
        *((id, True) for id in ("a", "9", "a.b_c@d+e-f", "A" * 128)),
        *((id, False) for id in ("", ".a", "-a", "a/b", "a b", "ä", "A" * 129)),
    ],
)
def test_the_ids_that_a_new_thing_may_have(client, document, path, url, body, id, taken):
    sent = {**body, "id": id}
    assert fits(document, request_of(document["paths"][path]["post"]), sent) is taken
    assert client.post(url, json=sent).status_code == (200 if taken else 400)


@pytest.mark.parametrize("path", ["/threads", "/assistants", "/threads/{thread_id}/messages"])
@pytest.mark.parametrize(
    ("limit", "taken"), [(-2, False), (-1, True), (0, False), (1, True), (100, True), (101, False)]
)
def test_how_long_a_list_may_be(client, document, path, limit, taken):
    known = document["paths"][path]["get"]["parameters"]
    [schema] = [each["schema"] for each in known if each["name"] == "limit"]
    assert fits(document, schema, limit) is taken
    answer = client.get(f"/v1{path.format(thread_id='t')}", params={"limit": limit})
    assert answer.status_code == (200 if taken else 400)


RUN: dict[str, Any] = {"assistant_id": "bob", "model": "calling", "stream": True}
TOOLS = [{"type": "function", "function": {"name": "add"}}]


def events(text: str) -> list[Any]:
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    return [json.loads(each) for each in data]


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        ("hello there", {"thread.message", "thread.message.delta"}),
        ('call add {"a": 1}', {"thread.run.step.delta"}),
    ],
)
def test_the_events_of_runs(client, document, data_folder, tmp_path, monkeypatch, words, kinds):
    calling.install(tmp_path / "engine", monkeypatch)
    calling.put_model(data_folder)
    said = [{"role": "user", "content": words}]
    new = {**RUN, "tools": TOOLS, "thread": {"messages": said}}
    added = {**RUN, "tools": TOOLS, "additional_messages": said}
    for path, body in (("/threads/runs", new), ("/threads/{thread_id}/runs", added)):
        answer = client.post(f"/v1{path.format(thread_id='t')}", json=body)
        schema = answer_of(document["paths"][path]["post"], "text/event-stream")
        found = events(answer.text)
        assert {each["object"] for each in found} >= {*kinds, "thread.run", "thread.run.step"}
        for event in found:
            check(document, schema, event)


def test_names_are_plain_and_tags_are_told(document):
    assert [name for name in document["components"]["schemas"] if "." in name] == []
    told = {tag["name"] for tag in document["tags"]}
    items = document["paths"].values()
    used = {each["tags"][0] for item in items for key, each in item.items() if key != "servers"}
    assert used == told
