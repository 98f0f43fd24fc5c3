from __future__ import annotations

import json
import time

import pytest

from jan_server.store import index
from tests.conftest import tree

MESSAGE = {"role": "user", "content": "hi"}
A_THREAD = {"id": "jan_1705312345", "title": "Weekend", "created": 1705312345678, "mood": "sunny"}


def read(data_folder, name):
    return json.loads((data_folder / name).read_bytes())


def test_a_thread_needs_no_body(client, data_folder):
    before = int(time.time())
    answer = client.post("/v1/threads")
    thread = answer.json()

    assert answer.status_code == 200
    assert thread["id"].startswith("jan_")
    assert before <= thread["created_at"] <= time.time()
    assert {key: thread[key] for key in ("object", "title", "metadata")} == {
        "object": "thread",
        "title": "New Thread",
        "metadata": {},
    }
    on_disk = read(data_folder, f"threads/{thread['id']}/thread.json")
    assert on_disk == {key: value for key, value in thread.items() if key != "created_at"}


def test_two_threads_in_one_second_are_two_threads(client):
    ids = {client.post("/v1/threads").json()["id"] for _ in range(5)}
    assert len(ids) == 5
    assert {thread["id"] for thread in client.get("/v1/threads").json()} == ids


def test_a_chosen_id_names_the_folder_once_wherever_that_is_filed(client, data_folder):
    answer = client.post("/v1/threads", json={"id": "trip", "title": "One"})
    assert answer.json()["id"] == read(data_folder, "threads/trip/thread.json")["id"] == "trip"
    assert client.post("/v1/threads", json={"id": None}).json()["id"].startswith("jan_")
    (data_folder / "threads/Work").mkdir()
    for where in ("threads/trip", "threads/Work/trip"):
        if where != "threads/trip":
            (data_folder / "threads/trip").rename(data_folder / where)
        again = client.post("/v1/threads", json={"id": "trip", "title": "Two"})
        assert (again.status_code, again.json()["error"]["code"]) == (409, "already_exists")
        assert read(data_folder, f"{where}/thread.json")["title"] == "One"
    assert client.get("/v1/threads/trip").json()["title"] == "One"


def test_the_first_messages_become_lines(client, data_folder):
    thread = client.post(
        "/v1/threads",
        json={
            "messages": [
                {"role": "user", "content": "Hello, what is AI?", "file_ids": ["file-abc123"]},
                {"role": "user", "content": [{"type": "text", "text": "Explain."}]},
            ],
            "title": "What AI is",
            "metadata": {"user": "1"},
            "tool_resources": {"code_interpreter": {"file_ids": []}},
        },
    ).json()

    lines = (data_folder / "threads" / thread["id"] / "messages.jsonl").read_text().splitlines()
    assert [json.loads(line)["content"] for line in lines] == [
        [{"type": "text", "text": {"value": "Hello, what is AI?", "annotations": []}}],
        [{"type": "text", "text": {"value": "Explain.", "annotations": []}}],
    ]
    assert "messages" not in thread
    assert thread["title"] == "What AI is"
    assert thread["metadata"] == {"user": "1"}
    assert thread["tool_resources"] == {"code_interpreter": {"file_ids": []}}
    listed = client.get(f"/v1/threads/{thread['id']}/messages").json()["data"]
    assert listed[0]["file_ids"] == ["file-abc123"]


def test_keys_that_nobody_knows_are_kept_in_their_order(client, data_folder):
    sent = dict.fromkeys(("zebra", "apple", "mango", "b", "a"), 1)
    thread = client.post("/v1/threads", json=sent).json()
    assert [key for key in thread if key in sent] == list(sent)


def test_an_assistant_named_by_a_string_is_taken_from_its_file(client, write):
    write("assistants/tutor/assistant.json", {"name": "Tutor", "instructions": "Be brief."})
    thread = client.post("/v1/threads", json={"assistants": ["tutor"]}).json()
    assert thread["id"].startswith("tutor_")
    assert thread["assistants"] == [
        {
            "assistant_id": "tutor",
            "assistant_name": "Tutor",
            "instructions": "Be brief.",
            "model": {"settings": {}, "parameters": {}},
        }
    ]


def test_the_default_assistant_is_taken_from_its_file_when_there_is_one(client, write):
    write("assistants/jan/assistant.json", {"name": "Jan", "model": "tiny"})
    [assistant] = client.post("/v1/threads", json={"assistants": []}).json()["assistants"]
    assert (assistant["assistant_name"], assistant["model"]["id"]) == ("Jan", "tiny")


@pytest.mark.parametrize("key", ["assistant_id", "id"])
def test_an_assistant_that_is_sent_whole_is_kept_whole(client, key):
    sent = {key: "me", "model": {"id": "m", "engine": "nitro"}, "avatar": "x.png"}
    thread = client.post("/v1/threads", json={"assistants": [sent]}).json()
    assert thread["assistants"] == [sent]
    assert thread["id"].startswith("me_")


def test_an_assistant_without_an_id_is_the_default_one(client):
    thread = client.post("/v1/threads", json={"assistants": [{"instructions": "x"}]}).json()
    assert thread["assistants"] == [{"assistant_id": "jan", "instructions": "x"}]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"assistants": ["nobody"]}, 404, None),
        ({"assistants": [{"assistant_id": "../evil"}]}, 400, "$.assistants[0].assistant_id"),
        ({"assistants": ["../evil"]}, 400, "$.assistants[0]"),
        ({"assistants": [{"id": 7}]}, 400, "$.assistants[0].id"),
        ({"assistants": 3}, 400, "$.assistants"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "$.messages[0].role"),
        ({"messages": [{"role": "user"}]}, 400, "$.messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            400,
            "$.messages[0].content[0].text",
        ),
        (
            {"messages": [{"role": "user", "content": "x", "id": i} for i in ("a", "a")]},
            400,
            "$.messages[1].id",
        ),
        ({"metadata": "x"}, 400, "$.metadata"),
        ({"id": "../evil"}, 400, "$.id"),
        ({"id": 7}, 400, "$.id"),
        ([], 400, "$"),
    ],
)
def test_a_wrong_thread_is_refused_and_nothing_is_created(client, data_folder, body, status, param):
    before = tree(data_folder.parent)
    answer = client.post("/v1/threads", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert tree(data_folder.parent) == before
    assert list((data_folder / "threads").iterdir()) == []


def test_a_thread_is_its_file_with_all_its_keys(client, write):
    write("threads/jan_1705312345/thread.json", A_THREAD)
    assert client.get("/v1/threads/jan_1705312345").json() == {
        **A_THREAD,
        "created_at": 1705312345,
        "object": "thread",
        "metadata": {},
    }


def test_reading_writes_nothing(client, write, data_folder):
    write("threads/a/thread.json", "{}")
    before = tree(data_folder)
    client.get("/v1/threads/a")
    client.get("/v1/threads")
    client.get("/v1/threads/a/messages")
    assert tree(data_folder) == before


def test_threads_are_listed_by_last_update_newest_first(client, write):
    for id, updated in (("a", 1705312345000), ("b", 1705312347000), ("c", 1705312346000)):
        write(f"threads/{id}/thread.json", {"updated": updated})
    assert [thread["id"] for thread in client.get("/v1/threads").json()] == ["b", "c", "a"]
    asked = client.get("/v1/threads", params={"order": "asc", "limit": 2}).json()
    assert [thread["id"] for thread in asked["data"]] == ["a", "c"]
    assert asked["has_more"] is True


@pytest.mark.parametrize("limit", ["0", "101", "-2", "many", "1.5"])
def test_a_limit_that_is_not_allowed_is_a_400(client, limit):
    answer = client.get("/v1/threads", params={"limit": limit})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "limit")


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_a_change_touches_only_what_changes(client, write, method):
    file = write(
        "threads/a/thread.json",
        '{\n    "title": "Old",\n\n    "z": 1.50,  "updated": 1705312345678,'
        '\n    "x": "\\u00e9"}\n',
    )
    answer = client.request(method, "/v1/threads/a", json={"title": "New", "extra": None})

    assert answer.status_code == 200
    text = file.read_text()
    updated = json.loads(text)["updated"]
    assert updated > 1705312345678
    assert text == (
        f'{{\n    "title": "New",\n\n    "z": 1.50,  "updated": {updated},\n    "x": "\\u00e9",'
        '\n    "extra": null}\n'
    )


def test_a_change_that_alters_nothing_writes_nothing(client, write):
    file = write("threads/a/thread.json", A_THREAD)
    before = file.stat()
    answer = client.patch("/v1/threads/a", json={"title": "Weekend", "mood": "sunny"})
    assert answer.json()["title"] == "Weekend"
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_id_object_and_times_are_not_the_clients_to_change(client, write, data_folder):
    write("threads/a/thread.json", A_THREAD)
    client.patch(
        "/v1/threads/a",
        json={"id": "b", "object": "x", "created": 1, "created_at": 1, "updated": 1},
    )
    assert read(data_folder, "threads/a/thread.json") == A_THREAD


def test_jan_05s_save_of_a_thread_does_not_undo_its_assistants(client, write, data_folder):
    write("threads/a/thread.json", {"assistants": [{"assistant_id": "new"}], "title": "x"})
    stale = {"id": "a", "title": "y", "assistants": [{"assistant_id": "old"}]}

    client.patch("/v1/threads/a", json=stale)

    changed = read(data_folder, "threads/a/thread.json")
    assert (changed["title"], changed["assistants"]) == ("y", [{"assistant_id": "new"}])


def test_a_save_that_says_what_it_has_seen_changes_the_assistants_too(client, write):
    write("threads/a/thread.json", {"assistants": [{"assistant_id": "old"}]})
    seen = {"If-Match": client.get("/v1/threads/a").headers["etag"]}
    body = {"id": "a", "assistants": [{"assistant_id": "new"}]}
    changed = client.patch("/v1/threads/a", json=body, headers=seen).json()
    assert changed["assistants"] == [{"assistant_id": "new"}]


def test_assistants_are_replaced_by_a_change_that_means_them(client, write):
    write("assistants/tutor/assistant.json", {"name": "Tutor"})
    write("threads/a/thread.json", {"assistants": []})
    changed = client.patch("/v1/threads/a", json={"assistants": ["tutor"]}).json()
    assert changed["assistants"][0]["assistant_name"] == "Tutor"


def test_messages_in_a_change_are_a_400_that_names_the_right_way(client, write):
    write("threads/a/thread.json", "{}")
    answer = client.post("/v1/threads/a", json={"messages": []})
    assert answer.status_code == 400
    assert "POST /v1/threads/a/messages" in answer.json()["message"]


def test_deleting_moves_to_the_trash(client, write, data_folder):
    write("threads/a/thread.json", A_THREAD)
    write("threads/a/messages.jsonl", '{"role":"user","content":"hi"}\n')

    answer = client.delete("/v1/threads/a")

    assert answer.json() == {"id": "a", "object": "thread.deleted", "deleted": True}
    assert client.get("/v1/threads/a").status_code == 404
    [trashed] = (data_folder / ".jan_server" / "trash").glob("*/threads/a")
    assert sorted(path.name for path in trashed.iterdir()) == ["messages.jsonl", "thread.json"]
    assert read(trashed, "thread.json") == A_THREAD


@pytest.mark.parametrize("method", ["GET", "PATCH", "POST", "DELETE"])
def test_an_unknown_thread_is_a_404_with_its_code(client, method):
    body = None if method in ("GET", "DELETE") else {"title": "x"}
    answer = client.request(method, "/v1/threads/nope", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "thread_not_found")


@pytest.mark.parametrize("kind", ["threads", "assistants"])
def test_a_list_that_waits_too_long_for_the_first_look_is_a_503(kind, client, write, monkeypatch):
    write("threads/a/thread.json", A_THREAD)
    write("threads/a/messages.jsonl", '{"id":"m","role":"user","content":"hi"}\n')
    monkeypatch.setattr(index, "PATIENCE", 0.01)
    with getattr(client.app.state.services.store, kind).index._scanning:
        answer = client.get(f"/v1/{kind}")
        # What has an address of its own waits for nothing.
        assert client.get("/v1/threads/a").json()["title"] == "Weekend"
        assert client.get("/v1/threads/a/messages/m").json()["id"] == "m"
        assert client.patch("/v1/threads/a", json={"title": "New"}).status_code == 200
        assert client.post("/v1/threads/a/messages", json=MESSAGE).status_code == 200
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    assert answer.headers["retry-after"] == "5"
    assert client.get(f"/v1/{kind}").status_code == 200


def test_a_broken_thread_hides_only_itself(client, write):
    write("threads/broken/thread.json", '{"title": "x",\n  oops}')
    write("threads/fine/thread.json", "{}")

    assert [thread["id"] for thread in client.get("/v1/threads").json()] == ["fine"]
    answer = client.get("/v1/threads/broken")
    assert answer.status_code == 500
    assert "threads/broken/thread.json:2:3" in answer.json()["message"]
    for answer in (
        client.patch("/v1/threads/broken", json={"title": "y"}),
        client.delete("/v1/threads/broken"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "file_broken")


def test_a_file_that_breaks_is_served_as_it_last_was_good(client, write):
    write("threads/a/thread.json", A_THREAD)
    client.get("/v1/threads/a")
    write("threads/a/thread.json", '{"title": ')

    answer = client.get("/v1/threads/a")

    assert (answer.status_code, answer.json()["title"]) == (200, "Weekend")
    assert answer.headers["x-jan-stale"].startswith("threads/a/thread.json:1:")


def test_a_thread_of_todays_jan_is_read_in_seconds_and_changed_in_its_own_unit(
    client, write, data_folder
):
    write(
        "threads/0f3c/thread.json",
        {"created": 1757840123.412, "id": "0f3c", "title": "x", "updated": 1757840123.412},
    )
    assert client.get("/v1/threads/0f3c").json()["created_at"] == 1757840123
    client.patch("/v1/threads/0f3c", json={"title": "y"})
    updated = read(data_folder, "threads/0f3c/thread.json")["updated"]
    assert isinstance(updated, float)
    assert updated == pytest.approx(time.time(), abs=60)


def test_openais_client_gets_list_objects(client, write):
    for number in range(25):
        write(f"threads/t{number:02}/thread.json", {"updated": 1705312345000 + number})
    answer = client.get("/v1/threads", headers={"OpenAI-Beta": "assistants=v2"}).json()
    assert answer["object"] == "list"
    assert [thread["id"] for thread in answer["data"]] == [f"t{n:02}" for n in range(24, 4, -1)]
    assert answer["has_more"] is True
    assert (answer["first_id"], answer["last_id"]) == ("t24", "t05")


def test_a_time_that_no_clock_says_hides_nothing(client, write):
    write("threads/a/thread.json", '{"created": 1' + "0" * 400 + ', "updated": 1e302}')
    write(
        "threads/a/messages.jsonl", '{"role":"user","content":"x","created_at":1' + "0" * 400 + "}"
    )
    write("threads/b/thread.json", "{}")
    assert {thread["id"] for thread in client.get("/v1/threads").json()} == {"a", "b"}
    assert client.get("/v1/threads/a").json()["created_at"] > 1_700_000_000
    assert len(client.get("/v1/threads/a/messages").json()["data"]) == 1
