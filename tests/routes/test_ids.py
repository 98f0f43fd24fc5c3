"""Ids that are never made into a path, at every route that takes one."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.conftest import tree

ROUTES = [
    ("GET", "/v1/threads/{}"),
    ("PATCH", "/v1/threads/{}"),
    ("POST", "/v1/threads/{}"),
    ("DELETE", "/v1/threads/{}"),
    ("GET", "/v1/threads/{}/messages"),
    ("POST", "/v1/threads/{}/messages"),
    ("GET", "/v1/threads/known/messages/{}"),
    ("GET", "/v1/assistants/{}"),
    ("GET", "/v1/models/{}"),
    ("DELETE", "/v1/models/{}"),
    ("GET", "/v1/models/download/{}"),
    ("POST", "/v1/models/download/{}"),
]
IDS = {
    "a step up, encoded": "..%2fescape",
    "a step up, all encoded": "%2e%2e%2fescape",
    "only a step up": "%2e%2e",
    "backslash": "..%5cescape",
    "300 characters": "a" * 300,
    "NUL": "a%00b",
    "line break": "a%0ab",
    "not UTF-8": "%ff",
}


@pytest.fixture(autouse=True)
def known(write):
    write("threads/known/thread.json", "{}")
    write("escape/thread.json", "{}")


@pytest.mark.parametrize("id", IDS.values(), ids=IDS.keys())
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_such_an_id_is_a_400_and_nothing_is_touched(client, data_folder, method, path, id):
    before = tree(data_folder.parent)
    body = {"role": "user", "content": "x"} if method in ("POST", "PATCH") else None

    answer = client.request(method, path.format(id), json=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_id"
    assert tree(data_folder.parent) == before


@pytest.mark.parametrize("path", ["/v1/threads//messages", "/v1//threads", "/v1/assistants//"])
def test_an_empty_id_is_a_400(client, path):
    assert client.get(path).status_code == 400


def test_one_trailing_slash_is_accepted(client):
    assert client.get("/v1/threads/known/").json()["id"] == "known"
    assert client.post("/v1/threads/").status_code == 200


@pytest.mark.parametrize("name", ["jan_1 (copy)", "Übersicht", "日本語", "a b", "x'y\"z", "100%"])
def test_a_folder_that_a_person_named_is_found(client, write, name):
    write(f"threads/{name}/thread.json", "{}")
    write(f"threads/{name}/messages.jsonl", '{"role":"user","content":"x"}\n')
    [found] = [t for t in client.get("/v1/threads").json() if t["id"] == name]
    assert client.get(f"/v1/threads/{quote(name, safe='')}").json() == found
    assert len(client.get(f"/v1/threads/{quote(name, safe='')}/messages").json()["data"]) == 1
