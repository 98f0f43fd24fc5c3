from __future__ import annotations

import json
import time

import pytest

from jan_server.store.signature import signature_at
from tests.conftest import tree

JAN = {"id": "jan", "object": "assistant", "created_at": 1705312345678, "name": "Jan", "x": [1]}


@pytest.fixture(autouse=True)
def assistants(write):
    write("assistants/jan/assistant.json", JAN)
    write("assistants/tutor/assistant.json", {"created_at": 1750945742.536, "name": "Tutor"})


def read(data_folder, id):
    return json.loads((data_folder / f"assistants/{id}/assistant.json").read_bytes())


def code(answer):
    return answer.status_code, answer.json()["error"]["code"], answer.json()["error"]["param"]


def test_an_assistant_is_its_file_with_its_time_in_seconds(client):
    assert client.get("/v1/assistants/jan").json() == {
        **JAN,
        "created_at": 1705312345,
        "metadata": {},
    }


def test_assistants_are_a_bare_array_newest_first(client):
    assert [a["id"] for a in client.get("/v1/assistants").json()] == ["tutor", "jan"]


@pytest.mark.parametrize(
    ("params", "headers"), [({"limit": -1}, {}), ({}, {"OpenAI-Beta": "assistants=v2"})]
)
def test_clients_that_page_get_a_list_object(client, params, headers):
    answer = client.get("/v1/assistants", params=params, headers=headers).json()
    assert (answer["object"], answer["first_id"], answer["has_more"]) == ("list", "tutor", False)


def test_an_unknown_assistant_is_a_404(client):
    answer = client.get("/v1/assistants/nope")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "assistant_not_found")


def test_an_assistant_without_a_time_has_its_files(client, write):
    path = write("assistants/new/assistant.json", {})
    expected = int(path.stat().st_mtime)
    assert client.get("/v1/assistants/new").json()["created_at"] == expected


# Create


def test_a_new_assistant_has_the_shape_that_jan_gives_it(client, data_folder):
    before = int(time.time())
    answer = client.post("/v1/assistants", json={"name": "Math Tutor", "instructions": "Be brief"})
    assistant, on_disk = answer.json(), read(data_folder, "math-tutor")

    assert answer.status_code == 200
    assert before <= assistant["created_at"] <= time.time()
    assert before * 1000 <= on_disk.pop("created_at") <= time.time() * 1000
    assert list(on_disk.items()) == [
        ("avatar", ""),
        ("id", "math-tutor"),
        ("object", "assistant"),
        ("name", "Math Tutor"),
        ("description", ""),
        ("model", "*"),
        ("instructions", "Be brief"),
        ("file_ids", []),
    ]
    assert {key: assistant[key] for key in on_disk} == on_disk
    assert answer.headers["etag"] == client.get("/v1/assistants/math-tutor").headers["etag"]


def test_in_a_folder_of_todays_jan_it_has_that_ones_shape(client, data_folder, write):
    write("store.json", {})
    client.post("/v1/assistants", json={"name": "Tutor"})
    on_disk = read(data_folder, "tutor_2")
    assert isinstance(on_disk.pop("created_at"), float)
    assert list(on_disk.items()) == [
        ("id", "tutor_2"),
        ("name", "Tutor"),
        ("avatar", ""),
        ("description", ""),
        ("instructions", ""),
        ("parameters", {}),
    ]


def test_the_document_s_own_keys_and_unknown_ones_are_kept_in_their_order(client, data_folder):
    sent = {
        "id": "asst_abc123",
        "version": 1,
        "description": None,
        "models": [{"model_id": "model_0"}],
        "events": {"in": [], "out": []},
        "zebra": 1,
        "tools": [{"type": "retrieval", "enabled": False}],
        "metadata": {"a": "b"},
    }
    answer = client.post("/v1/assistants", json=sent).json()
    assert {key: answer[key] for key in sent} == sent
    on_disk = read(data_folder, "asst_abc123")
    assert [key for key in on_disk if key in sent] == [
        "id", "description", "version", "models", "events", "zebra", "tools", "metadata",
    ]  # fmt: skip


def test_what_is_ours_to_say_is_not_taken_from_the_client(client, data_folder):
    sent = {"id": "me", "object": "thing", "created_at": 1, "created": 2}
    client.post("/v1/assistants", json=sent)
    on_disk = read(data_folder, "me")
    assert (on_disk["object"], on_disk["created_at"] > 2, "created" in on_disk) == (
        "assistant",
        True,
        False,
    )


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("Jan", "jan_2"),
        ("  Ünïcode & Söhne!  ", "unicode-sohne"),
        ("a/../b", "a-b"),
        ("x" * 300, "x" * 64),
    ],
)
def test_without_an_id_it_is_made_of_the_name(client, data_folder, name, id):
    assert client.post("/v1/assistants", json={"name": name}).json()["id"] == id
    assert read(data_folder, id)["name"] == name


@pytest.mark.parametrize("body", [None, {}, {"name": "日本語"}, {"name": None}])
def test_without_a_name_to_make_it_of_it_is_a_fresh_one(client, body):
    ids = {client.post("/v1/assistants", json=body).json()["id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(id.startswith("asst_") for id in ids)


def test_an_id_that_is_taken_is_a_409_and_nothing_is_written(client, data_folder):
    before = tree(data_folder)
    answer = client.post("/v1/assistants", json={"id": "jan", "name": "Other"})
    assert code(answer) == (409, "already_exists", "id")
    assert tree(data_folder) == before


@pytest.mark.parametrize(
    ("body", "error", "param"),
    [
        ({"id": "../evil"}, "invalid_id", "$.id"),
        ({"id": ""}, "invalid_id", "$.id"),
        ({"id": 3}, "invalid_request", "$.id"),
        ({"name": 3}, "invalid_request", "$.name"),
        ({"tools": ["retrieval"]}, "invalid_request", "$.tools[0]"),
        ({"parameters": []}, "invalid_request", "$.parameters"),
    ],
)
def test_a_wrong_value_is_named(client, data_folder, body, error, param):
    before = tree(data_folder.parent)
    assert code(client.post("/v1/assistants", json=body)) == (400, error, param)
    assert tree(data_folder.parent) == before


# Change


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_a_change_replaces_top_level_keys_and_nothing_else(client, write, method):
    before = '{\n\t"x":1.0,\n\t"name":"Jan",\n\t"instructions":""\n}'
    after = '{\n\t"x":1.0,\n\t"name":"Jan",\n\t"instructions":"Hi",\n\t"new":1\n}'
    path = write("assistants/jan/assistant.json", before)
    answer = client.request(method, "/v1/assistants/jan", json={"instructions": "Hi", "new": 1})
    assert path.read_text() == after
    assert (answer.json()["instructions"], answer.json()["new"]) == ("Hi", 1)
    assert answer.headers["etag"] == client.get("/v1/assistants/jan").headers["etag"]


def test_a_change_that_alters_nothing_writes_nothing(client, data_folder):
    path = data_folder / "assistants/jan/assistant.json"
    before = signature_at(path)
    sent = {**JAN, "id": "jan", "object": "x", "created": 5, "created_at": 7}
    assert client.patch("/v1/assistants/jan", json=sent).status_code == 200
    assert signature_at(path) == before


def test_an_assistant_keeps_its_id(client, data_folder):
    before = tree(data_folder)
    answer = client.patch("/v1/assistants/jan", json={"id": "other", "name": "x"})
    assert code(answer) == (400, "invalid_request", "$.id")
    assert tree(data_folder) == before


def test_a_change_of_what_was_changed_meanwhile_is_a_412(client, data_folder, write):
    etag = client.get("/v1/assistants/jan").headers["etag"]
    write("assistants/jan/assistant.json", {**JAN, "name": "By hand"})
    before = tree(data_folder)
    for method in ("PATCH", "POST", "DELETE"):
        body = {"name": "x"} if method != "DELETE" else None
        answer = client.request(method, "/v1/assistants/jan", json=body, headers={"If-Match": etag})
        assert (answer.status_code, answer.json()["error"]["code"]) == (412, "precondition_failed")
    assert tree(data_folder) == before
    now = client.get("/v1/assistants/jan").headers["etag"]
    answer = client.patch("/v1/assistants/jan", json={"name": "x"}, headers={"If-Match": now})
    assert answer.json()["name"] == "x"


def test_who_has_it_already_gets_a_304(client):
    etag = client.get("/v1/assistants/jan").headers["etag"]
    answer = client.get("/v1/assistants/jan", headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)


def test_a_broken_file_is_neither_changed_nor_deleted(client, data_folder, write):
    write("assistants/jan/assistant.json", '{"name": ')
    before = tree(data_folder)
    for method in ("PATCH", "POST", "DELETE"):
        body = {"name": "x"} if method != "DELETE" else None
        answer = client.request(method, "/v1/assistants/jan", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "file_broken")
    assert tree(data_folder) == before


# Delete


@pytest.mark.parametrize("id", ["tutor", "jan"])
def test_a_deleted_assistant_is_in_the_trash_and_threads_keep_what_they_hold(
    client, data_folder, id
):
    thread = client.post("/v1/threads", json={"assistants": [id]}).json()
    answer = client.delete(f"/v1/assistants/{id}")
    assert answer.json() == {"id": id, "object": "assistant.deleted", "deleted": True}
    assert client.get(f"/v1/assistants/{id}").status_code == 404
    assert client.get(f"/v1/threads/{thread['id']}").json() == thread
    [deletion] = client.get("/v1/trash").json()["data"]
    assert (deletion["kind"], deletion["resource_id"]) == ("assistant", id)


def test_an_unknown_one_is_neither_changed_nor_deleted(client):
    for method in ("PATCH", "POST", "DELETE"):
        body = {"name": "x"} if method != "DELETE" else None
        answer = client.request(method, "/v1/assistants/nope", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "assistant_not_found")
