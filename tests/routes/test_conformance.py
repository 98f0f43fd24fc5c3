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


@pytest.fixture
def models(write: Callable[..., Path]) -> None:
    """One that is broken, one without weights, two with one alias, one that is not here."""
    write("models/broken/model.json", '{"engine":')
    write("models/bare/model.json", {"id": "bare"})
    for id in ("one", "two"):
        write(f"models/{id}/model.json", {"engine": "echo", "aliases": ["short"]})
    remote = {"engine": "openai", "settings": {"full_url": "http://127.0.0.1:9/v1"}}
    write("models/remote/model.json", remote)


def check_told(document: Document, operation: Any, answer: Any, status: int, code: str) -> None:
    """An error's code is in what the document says of its status."""
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert f"`{code}`" in operation["responses"][str(status)]["description"]


OF_A_MODEL = [
    ("get", "/models/{model_id}"),
    ("patch", "/models/{model_id}"),
    ("delete", "/models/{model_id}"),
    ("put", "/models/{model_id}/start"),
    ("post", "/models/{model_id}/stop"),
    ("get", "/models/status/{model_id}"),
    ("post", "/models/download/{model_id}"),
    ("delete", "/models/download/{model_id}"),
]


@pytest.mark.parametrize(
    ("method", "path", "id", "status", "code"),
    [
        *((*each, "short", 400, "ambiguous_model") for each in OF_A_MODEL),
        *((*each, "a%00", 400, "invalid_id") for each in OF_A_MODEL),
        ("get", "/models/{model_id}", "broken", 500, "file_unreadable"),
        ("put", "/models/{model_id}/start", "bare", 404, "model_file_not_found"),
        ("post", "/models/{model_id}/stop", "broken", 500, "file_unreadable"),
        ("get", "/models/status/{model_id}", "broken", 500, "file_unreadable"),
        ("get", "/models/status/{model_id}", "one", 404, "running_model_not_found"),
        ("post", "/models/download/{model_id}", "bare", 404, "model_file_not_found"),
        ("post", "/models/download/{model_id}", "broken", 500, "file_unreadable"),
        ("post", "/models/download/{model_id}", "remote", 422, "model_cannot_run"),
        ("delete", "/models/download/{model_id}", "bare", 404, "download_not_found"),
    ],
)
def test_errors_of_a_model_are_told(client, document, models, method, path, id, status, code):
    body = {"name": "x"} if method == "patch" else None
    answer = client.request(method, f"/v1{path.format(model_id=id)}", json=body)
    check_told(document, document["paths"][path][method], answer, status, code)


CHAT = {"messages": [MESSAGE]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat/completions", CHAT),
        ("/chat/count_tokens", CHAT),
        ("/completions", {"prompt": "x"}),
        ("/embeddings", {"input": "x"}),
        ("/tokenize", {"content": "x"}),
        ("/messages", {**CHAT, "max_tokens": 1}),
        ("/responses", {"input": "x"}),
        ("/threads/{thread_id}/runs", {"assistant_id": "bob"}),
        ("/models/start", {}),
    ],
)
@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("short", 400, "ambiguous_model"),
        ("a\0", 400, "invalid_id"),
        ("nope", 404, "model_not_found"),
        ("bare", 404, "model_file_not_found"),
        ("broken", 500, "file_unreadable"),
    ],
)
def test_errors_of_the_model_that_is_asked_are_told(
    client, document, models, path, body, model, status, code
):
    answer = client.post(f"/v1{path.format(thread_id='t')}", json={**body, "model": model})
    check_told(document, document["paths"][path]["post"], answer, status, code)


@pytest.mark.parametrize(
    ("block", "taken"),
    [({"type": "text", "text": "a"}, True), ({"text": "a"}, True), ({"type": "image"}, False)],
)
def test_the_blocks_of_a_system(client, document, block, taken):
    sent = {**CHAT, "model": "echo", "max_tokens": 1, "system": [block]}
    assert fits(document, request_of(document["paths"]["/messages"]["post"]), sent) is taken
    assert client.post("/v1/messages", json=sent).status_code == (200 if taken else 400)


def test_that_no_response_is_streamed_later_is_told(client, document):
    operation = document["paths"]["/responses/{response_id}"]["get"]
    answer = client.get("/v1/responses/x", params={"stream": "true"})
    check_told(document, operation, answer, 400, "unsupported_parameter")


def test_the_assistant_in_a_thread_is_told(client, document):
    shown = client.get("/v1/assistants/t").json()
    assert isinstance(shown["model"], dict)
    check(document, answer_of(document["paths"]["/assistants/{assistant_id}"]["get"]), shown)
