"""Deleting, looking at what was deleted, putting it back, and freeing its space."""

from __future__ import annotations

import time

import msgspec
import pytest
from starlette.testclient import TestClient

from jan_server.app import create_app
from tests.conftest import BASE_URL, tree

DAY = 86400
ID = "20260101T000000.000000Z"
DELETED_AT = 1767225600
LINES = (
    '{"id":"a","role":"user","content":"hi"}\n'
    '{ "id":"b" , "role":"assistant","content":"ho"}\n'
    '{"id":"c","role":"user","content":"hey"}\n'
)


@pytest.fixture(autouse=True)
def folder(write):
    write("threads/one/thread.json", {"title": "One"})
    write("threads/one/messages.jsonl", LINES)
    write("threads/Work/x/thread.json", {"title": "X"})
    write("assistants/tutor/assistant.json", {"name": "Tutor"})
    write("models/org/tiny/model.json", {"engine": "echo"})
    write("models/org/tiny/tiny.gguf", "weights")


def deletions(client):
    return client.get("/v1/trash").json()["data"]


DELETED = {
    "thread": ("/v1/threads/one", "thread", "one", "threads/one", "/v1/threads/one"),
    "filed thread": ("/v1/threads/x", "thread", "x", "threads/Work/x", "/v1/threads/x"),
    "assistant": (
        "/v1/assistants/tutor",
        "assistant",
        "tutor",
        "assistants/tutor",
        "/v1/assistants/tutor",
    ),
    "model": (
        "/v1/models/org/tiny",
        "model",
        "org/tiny",
        "models/org/tiny",
        "/v1/models/org/tiny",
    ),
}


@pytest.mark.parametrize("name", DELETED)
def test_what_is_deleted_is_listed_and_comes_back(client, data_folder, name):
    path, kind, resource_id, home, url = DELETED[name]
    before, files = client.get(path).json(), tree(data_folder)

    assert client.delete(path).json()["deleted"] is True

    [deletion] = deletions(client)
    known = {key: value for key, value in files.items() if key.startswith(home)}
    age = 1 if kind == "model" else 30
    assert deletion == {
        "id": deletion["id"],
        "object": "trash.deletion",
        "kind": kind,
        "resource_id": resource_id,
        "path": home,
        "deleted_at": deletion["deleted_at"],
        "expires_at": pytest.approx(deletion["deleted_at"] + age * DAY, abs=1),
        "bytes": sum(map(len, known.values())),
        "files": len(known),
    }
    assert time.time() - 60 < deletion["deleted_at"] <= time.time()
    assert client.get(f"/v1/trash/{deletion['id']}").json() == deletion
    assert client.get(path).status_code == 404

    answer = client.post(f"/v1/trash/{deletion['id']}/restore")
    assert answer.json() == {
        "id": deletion["id"],
        "object": "trash.deletion.restored",
        "kind": kind,
        "resource_id": resource_id,
        "url": url,
        "restored": True,
    }
    assert client.get(url).json() == before
    assert tree(data_folder) == files
    assert client.get(f"/v1/trash/{deletion['id']}").status_code == 404


def test_a_deletion_has_an_etag_as_every_single_resource_has(client):
    client.delete("/v1/threads/one")
    url = f"/v1/trash/{deletions(client)[0]['id']}"
    etag = client.get(url).headers["etag"]
    assert client.get(url, headers={"If-None-Match": etag}).status_code == 304
    assert client.get(url, headers={"If-Match": '"other"'}).status_code == 412
    client.delete("/v1/threads/x")
    etags = {client.get(f"/v1/trash/{item['id']}").headers["etag"] for item in deletions(client)}
    assert (len(etags), etag in etags) == (2, True)


def test_the_list_is_newest_first_with_the_space_it_takes(client):
    for path in ("/v1/threads/one", "/v1/assistants/tutor"):
        client.delete(path)
    found = client.get("/v1/trash").json()
    ids = [item["id"] for item in found["data"]]
    assert [item["kind"] for item in found["data"]] == ["assistant", "thread"]
    assert ids == sorted(ids, reverse=True)
    del found["data"]
    assert found == {
        "object": "list",
        "first_id": ids[0],
        "last_id": ids[1],
        "has_more": False,
        "bytes": len('{"title": "One"}' + LINES + '{"name": "Tutor"}'),
    }


def test_an_empty_trash_is_an_empty_list(client):
    assert client.get("/v1/trash").json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
        "bytes": 0,
    }


def test_restoring_over_a_new_one_of_that_name_is_a_409_and_moves_nothing(client, data_folder):
    client.delete("/v1/assistants/tutor")
    client.post("/v1/assistants", json={"id": "tutor", "name": "New"})
    [deletion] = deletions(client)
    before = tree(data_folder)
    answer = client.post(f"/v1/trash/{deletion['id']}/restore")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_exists")
    assert (tree(data_folder), deletions(client)) == (before, [deletion])


def test_a_thread_that_finds_its_name_taken_elsewhere_says_by_which_it_is_reached(client, write):
    client.delete("/v1/threads/x")
    write("threads/x/thread.json", {"title": "Another"})
    [deletion] = deletions(client)
    answer = client.post(f"/v1/trash/{deletion['id']}/restore").json()
    assert (answer["resource_id"], answer["url"]) == ("x@Work", "/v1/threads/x%40Work")
    assert client.get(answer["url"]).json()["title"] == "X"
    assert client.get("/v1/threads/x").json()["title"] == "Another"


# Messages


def deleted_message(client, id="b"):
    assert client.delete(f"/v1/threads/one/messages/{id}").status_code == 200
    [deletion] = deletions(client)
    return deletion


def test_a_deleted_message_comes_back_to_its_place(client, data_folder):
    deletion = deleted_message(client)
    assert {
        key: deletion[key] for key in ("kind", "resource_id", "thread_id", "path", "files")
    } == {
        "kind": "message",
        "resource_id": "b",
        "thread_id": "one",
        "path": "threads/one/messages.jsonl",
        "files": 1,
    }
    answer = client.post(f"/v1/trash/{deletion['id']}/restore").json()
    assert (answer["kind"], answer["resource_id"], answer["thread_id"], answer["url"]) == (
        "message",
        "b",
        "one",
        "/v1/threads/one/messages/b",
    )
    assert (data_folder / "threads/one/messages.jsonl").read_text() == LINES
    assert deletions(client) == []


def test_a_message_whose_id_is_taken_again_stays_in_the_trash(client, data_folder):
    deletion = deleted_message(client)
    client.post("/v1/threads/one/messages", json={"id": "b", "role": "user", "content": "new"})
    before = tree(data_folder)
    answer = client.post(f"/v1/trash/{deletion['id']}/restore")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_exists")
    assert (tree(data_folder), deletions(client)) == (before, [deletion])


def test_a_message_of_a_thread_that_is_gone_waits_for_its_thread(client, data_folder):
    message = deleted_message(client)
    client.delete("/v1/threads/one")
    answer = client.post(f"/v1/trash/{message['id']}/restore")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "thread_not_found")
    [thread, still] = deletions(client)
    assert still == message
    for deletion in (thread, message):
        assert client.post(f"/v1/trash/{deletion['id']}/restore").json()["restored"] is True
    assert (data_folder / "threads/one/messages.jsonl").read_text() == LINES


# Freeing


def test_a_deletion_is_freed_for_good(client, data_folder):
    client.delete("/v1/threads/one")
    client.delete("/v1/assistants/tutor")
    assistant, thread = deletions(client)
    answer = client.delete(f"/v1/trash/{thread['id']}")
    assert answer.json() == {
        "id": thread["id"],
        "object": "trash.deletion.deleted",
        "deleted": True,
    }
    assert deletions(client) == [assistant]
    left = [path.name for path in (data_folder / ".jan_server/trash").iterdir()]
    assert left == [assistant["id"]]


def test_a_deletion_is_freed_only_if_it_is_the_one_that_was_seen(client):
    client.delete("/v1/threads/one")
    [deletion] = deletions(client)
    url = f"/v1/trash/{deletion['id']}"
    for value, status in (('"other"', 412), ("other", 400)):
        assert client.delete(url, headers={"If-Match": value}).status_code == status
    assert deletions(client) == [deletion]
    etag = client.get(url).headers["etag"]
    assert client.delete(url, headers={"If-Match": etag}).status_code == 200


@pytest.mark.parametrize("id", ["nope", ID, "%2e%2e", ".jan_server-0", "..%2f..%2fthreads"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "{}"), ("DELETE", "{}"), ("POST", "{}/restore")]
)
def test_what_is_no_deletion_is_left_alone(client, data_folder, write, method, path, id):
    write(".jan_server/trash/nope/threads/x/thread.json", {})
    before = tree(data_folder.parent)
    answer = client.request(method, f"/v1/trash/{path.format(id)}")
    assert (answer.status_code, answer.json()["error"]["code"]) in (
        (404, "deletion_not_found"),
        (400, "invalid_id"),
    )
    assert tree(data_folder.parent) == before
    assert (data_folder / ".jan_server/trash/nope/threads/x/thread.json").exists()


def test_what_never_expires_says_so(write, settings):
    write(f".jan_server/trash/{ID}/threads/old/thread.json", {})
    for_ever = msgspec.structs.replace(settings, trash_days=0)
    with TestClient(create_app(for_ever), base_url=BASE_URL) as client:
        [deletion] = deletions(client)
    assert (deletion["deleted_at"], deletion["expires_at"]) == (DELETED_AT, None)


def test_what_is_over_is_removed_after_the_start(data_folder, write, settings):
    write(f".jan_server/trash/{ID}/threads/old/thread.json", {})
    short = msgspec.structs.replace(settings, trash_days=0.001)
    with TestClient(create_app(short), base_url=BASE_URL) as client:
        while any((data_folder / ".jan_server/trash").iterdir()):
            client.get("/healthz")
