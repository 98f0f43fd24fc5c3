from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient
from ulid import ULID

from jan_server import following
from jan_server.app import create_app
from jan_server.errors import DiskFull
from tests.conftest import BASE_URL, tree


@pytest.fixture
def thread(write):
    write("threads/a/thread.json", {"title": "x", "updated": 1, "metadata": {"lastMessage": "old"}})
    return "/v1/threads/a/messages"


@pytest.fixture
def file(data_folder):
    return data_folder / "threads" / "a" / "messages.jsonl"


def texts(answer):
    return [message["content"][0]["text"]["value"] for message in answer.json()["data"]]


def test_a_message_becomes_one_line_in_jans_shape(client, thread, file):
    message = client.post(thread, json={"role": "user", "content": "Hi"}).json()

    [line] = file.read_bytes().splitlines(keepends=True)
    stored = json.loads(line)
    assert line.endswith(b"}\n")
    assert list(stored) == [
        "id",
        "thread_id",
        "status",
        "created",
        "updated",
        "object",
        "role",
        "content",
    ]
    assert ULID.from_str(stored["id"])
    assert stored["created"] == stored["updated"] > 1e12
    assert message == {
        **stored,
        "created_at": stored["created"] // 1000,
        "assistant_id": None,
        "run_id": None,
        "file_ids": [],
        "metadata": {},
    }


def test_messages_come_in_file_order_and_one_can_be_read(client, thread):
    ids = [
        client.post(thread, json={"role": "user", "content": str(n)}).json()["id"] for n in range(5)
    ]
    assert ids == sorted(ids)
    assert texts(client.get(thread)) == ["0", "1", "2", "3", "4"]
    assert client.get(f"{thread}/{ids[2]}").json()["content"][0]["text"]["value"] == "2"


def test_what_a_client_chooses_is_kept(client, thread, file):
    sent = {
        "id": "01HM5ZK3Q2V8W7T6R5N4M3K2J1",
        "role": "assistant",
        "content": [{"type": "text", "text": {"value": "done", "annotations": []}}],
        "status": "stopped",
        "type": "Thread",
        "metadata": {"token_speed": 9.5},
        "assistant_id": "jan",
        "attachments": [{"file_id": "f"}],
    }
    client.post(thread, json=sent)
    stored = json.loads(file.read_text())
    assert {key: stored[key] for key in sent} == sent


def test_an_image_part_is_kept_as_it_is(client, thread, file):
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    client.post(thread, json={"role": "user", "content": [part]})
    assert json.loads(file.read_text())["content"] == [part]


def test_an_id_that_is_taken_is_refused(client, thread, file):
    body = {"id": "m1", "role": "user", "content": "x"}
    assert client.post(thread, json=body).status_code == 200
    again = client.post(thread, json=body)
    assert (again.status_code, again.json()["error"]["param"]) == (400, "$.id")
    assert len(file.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"role":"user"', None),
        (b"", None),
        (b"[]", "$"),
        (b'{"role":"user","content":7}', "$.content"),
        (b'{"role":"user","content":[]}', "$.content"),
        (b'{"role":"user","content":[{"type":"text"}]}', "$.content[0].text"),
        (b'{"role":"user","content":[{"text":"x"}]}', "$.content[0].type"),
        (b'{"content":"x"}', "$.role"),
        (b'{"role":"user"}', "$.content"),
        (b'{"role":"robot","content":"x"}', "$.role"),
        (b'{"role":"user","content":"x","id":"../evil"}', "$.id"),
    ],
)
def test_a_wrong_message_is_a_400_with_its_place(client, thread, data_folder, body, param):
    before = tree(data_folder)
    answer = client.post(thread, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert tree(data_folder) == before


def test_posting_to_an_unknown_thread_creates_nothing(client, data_folder):
    before = tree(data_folder)
    answer = client.post("/v1/threads/nope/messages", json={"role": "user", "content": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "thread_not_found")
    assert client.get("/v1/threads/nope/messages").status_code == 404
    assert not (data_folder / "threads" / "nope").exists()
    assert tree(data_folder) == before


def test_an_unknown_message_is_a_404(client, thread):
    answer = client.get(f"{thread}/nope")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "message_not_found")


def test_a_line_by_hand_may_be_minimal(client, thread, file):
    file.write_text('{"role":"user","content":"by hand"}')
    client.post(thread, json={"role": "user", "content": "by the API"})

    assert texts(client.get(thread)) == ["by hand", "by the API"]
    assert file.read_text().startswith('{"role":"user","content":"by hand"}\n{')
    first = client.get(thread).json()["data"][0]
    assert first["id"].startswith("line-")
    assert client.get(f"{thread}/{first['id']}").json() == first


def test_a_bad_line_hides_only_itself(client, thread, file):
    lines = '{"role":"user","content":"1"}\n{oops\n\n{"role":"user","content":"2"}\n'
    file.write_text(lines)
    assert texts(client.get(thread)) == ["1", "2"]
    client.post(thread, json={"role": "user", "content": "3"})
    assert file.read_text().startswith(lines)


def test_messages_may_be_appended_to_a_thread_whose_json_is_broken(client, write, thread):
    broken = write("threads/a/thread.json", "{oops")
    assert client.post(thread, json={"role": "user", "content": "x"}).status_code == 200
    assert texts(client.get(thread)) == ["x"]
    assert broken.read_text() == "{oops"


def test_a_folder_with_messages_and_no_thread_json_is_a_thread(client, write):
    write("threads/b/messages.jsonl", '{"role":"user","content":"x"}\n')
    assert client.get("/v1/threads/b").json()["id"] == "b"
    assert texts(client.get("/v1/threads/b/messages")) == ["x"]


def test_the_thread_follows_its_messages(settings, write, thread, data_folder):
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        for text in ("one", "two"):
            client.post(thread, json={"role": "user", "content": text})
    followed = json.loads((data_folder / "threads/a/thread.json").read_text())
    assert followed["metadata"] == {"lastMessage": "two"}
    assert followed["updated"] > 1


def test_the_thread_follows_within_a_second_and_once_for_many(client, thread, data_folder):
    path = data_folder / "threads/a/thread.json"
    versions = [path.read_text()]
    for text in ("one", "two", "three"):
        client.post(thread, json={"role": "user", "content": text})
    began = time.monotonic()
    while "three" not in versions[-1]:
        assert time.monotonic() - began < 20
        versions += {path.read_text()} - {versions[-1]}
    assert len(versions) == 2
    assert following.DELAY < 1


def test_following_a_thread_that_is_gone_is_nothing_to_say(settings, write, thread, caplog):
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        client.post(thread, json={"role": "user", "content": "x"})
        assert client.delete("/v1/threads/a").status_code == 200
    assert caplog.messages == []


def test_a_thread_that_cannot_follow_is_said(settings, write, thread, caplog, monkeypatch):
    def full(*_, **__):
        raise DiskFull("The disk is full.")

    app = create_app(settings)
    with TestClient(app, base_url=BASE_URL) as client:
        assert client.post(thread, json={"role": "user", "content": "x"}).status_code == 200
        monkeypatch.setattr(app.state.services.store.files, "try_replace", full)
    assert caplog.messages == ["thread.json of a does not show its last message: The disk is full."]


def test_openais_client_reads_the_newest_first(client, thread):
    for number in range(25):
        client.post(thread, json={"role": "user", "content": str(number)})
    asked = client.get(thread, headers={"OpenAI-Beta": "assistants=v2"})
    assert texts(asked) == [str(n) for n in range(24, 4, -1)]
    after = asked.json()["last_id"]
    rest = client.get(thread, params={"after": after}, headers={"OpenAI-Beta": "assistants=v2"})
    assert texts(rest) == ["4", "3", "2", "1", "0"]
    assert rest.json()["has_more"] is False


def test_messages_of_todays_jan_are_in_seconds_without_empty_attachments(client, write):
    write("threads/c/thread.json", "{}")
    write(
        "threads/c/messages.jsonl",
        {
            "attachments": [],
            "completed_at": 1757840131000,
            "content": [{"type": "text", "text": {"value": "x"}}],
            "created_at": 1757840130456,
            "id": "01K52E3J7Y5ZC8X7W6V5T4S3R2",
            "role": "user",
        },
    )
    [message] = client.get("/v1/threads/c/messages").json()["data"]
    assert (message["created_at"], message["completed_at"]) == (1757840130, 1757840131)
    assert "attachments" not in message


# Changing and deleting

LINE = '{"id":"m1","role":"user","content":"hi","created":1705312350123,"updated":1705312350123}'
OTHER = '{ "id": "m2", "role": "assistant", "content": "ho", "x": 1.50 }'


@pytest.fixture
def two(write, thread, file):
    write("threads/a/messages.jsonl", f"{LINE}\n{OTHER}\n")
    return thread


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_a_change_replaces_keys_of_one_line(method, client, two, file):
    changes = {"content": "hello", "metadata": {"k": 1}, "status": None, "mine": [1]}
    answer = client.request(method, f"{two}/m1", json=changes)
    assert answer.status_code == 200
    stored, other = file.read_text().splitlines()
    assert other == OTHER
    assert json.loads(stored) == {
        **json.loads(LINE),
        "content": [{"type": "text", "text": {"value": "hello", "annotations": []}}],
        "metadata": {"k": 1},
        "status": None,
        "mine": [1],
        "updated": json.loads(stored)["updated"],
    }
    assert client.get(f"{two}/m1").json() == answer.json()
    assert client.get(f"{two}/m1").headers["etag"] == answer.headers["etag"]


def test_what_is_the_servers_is_passed_over_and_a_change_of_nothing_writes_nothing(
    client, two, file
):
    sent = {**client.get(f"{two}/m1").json(), "created": 1, "thread_id": "z", "object": "z"}
    sent = {key: sent[key] for key in ("id", "role", "content", "created", "thread_id", "object")}
    answer = client.patch(f"{two}/m1", json=sent)
    assert answer.json() == client.get(f"{two}/m1").json()
    assert file.read_text() == f"{LINE}\n{OTHER}\n"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"role": "robot"}, "$.role"),
        ({"role": None}, "$.role"),
        ({"content": None}, "$.content"),
        ({"content": []}, "$.content"),
        ({"content": [{"type": "text"}]}, "$.content[0].text"),
        ({"metadata": 7}, "$.metadata"),
    ],
)
def test_a_wrong_change_is_a_400_with_its_place(client, two, file, body, param):
    answer = client.patch(f"{two}/m1", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert file.read_text() == f"{LINE}\n{OTHER}\n"


def test_a_deleted_message_is_in_the_trash_and_can_be_put_back(client, two, file):
    answer = client.delete(f"{two}/m1")
    assert answer.json() == {"id": "m1", "object": "thread.message.deleted", "deleted": True}
    assert file.read_text() == f"{OTHER}\n"
    assert client.get(f"{two}/m1").status_code == 404
    [deletion] = client.get("/v1/trash").json()["data"]
    assert client.post(f"/v1/trash/{deletion['id']}/restore").status_code == 200
    assert file.read_text() == f"{LINE}\n{OTHER}\n"


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_what_is_not_there_cannot_be_changed(method, client, two):
    for path, code in ((f"{two}/nope", "message_not_found"), (f"{two}/..", "invalid_id")):
        answer = client.request(method, path.replace("..", "%2E%2E"), json={})
        assert answer.json()["error"]["code"] == code
    missing = client.request(method, "/v1/threads/nope/messages/m1", json={})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "thread_not_found")


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_change_of_what_was_changed_since_is_a_412(method, client, two, file):
    etag = client.get(f"{two}/m1").headers["etag"]
    edited = f"{LINE.replace('hi', 'by hand')}\n{OTHER}\n"
    file.write_text(edited)
    condition = {"If-Match": etag}
    answer = client.request(method, f"{two}/m1", json={"role": "system"}, headers=condition)
    assert (answer.status_code, answer.json()["error"]["code"]) == (412, "precondition_failed")
    assert file.read_text() == edited
    condition = {"If-Match": client.get(f"{two}/m1").headers["etag"]}
    answer = client.request(method, f"{two}/m1", json={"role": "system"}, headers=condition)
    assert answer.status_code == 200


def test_an_etag_is_of_one_line_and_a_304_answers_who_knows_it(client, two, file):
    created = client.post(two, json={"role": "user", "content": "x"})
    etag = client.get(f"{two}/m1").headers["etag"]
    file.write_text(file.read_text().replace("ho", "changed by hand"))
    known = client.get(f"{two}/m1", headers={"If-None-Match": etag})
    assert (known.status_code, known.content) == (304, b"")
    assert created.headers["etag"] == client.get(f"{two}/{created.json()['id']}").headers["etag"]


@pytest.mark.parametrize(
    ("change", "last"),
    [
        (lambda client, two: client.patch(f"{two}/m2", json={"content": "new"}), "new"),
        (lambda client, two: client.delete(f"{two}/m2"), "hi"),
        (lambda client, two: client.patch(f"{two}/m2", json={"content": "ho"}), "old"),
    ],
)
def test_the_thread_follows_changes_of_its_last_message(change, last, settings, two, data_folder):
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        change(client, two)
    followed = json.loads((data_folder / "threads/a/thread.json").read_text())
    assert followed["metadata"] == {"lastMessage": last}


# Parts of lists


@pytest.mark.parametrize(
    ("query", "expected", "has_more"),
    [
        ("limit=2&order=desc", ["m4", "m3"], True),
        ("limit=5&order=desc", ["m4", "m3", "m2", "m1", "m0"], False),
        ("limit=-1&order=desc", ["m4", "m3", "m2", "m1", "m0"], False),
        ("limit=2", ["m0", "m1"], True),
        ("limit=2&order=desc&after=m3", ["m2", "m1"], True),
        ("limit=2&before=m3", ["m1", "m2"], True),
        ("order=desc", ["m4", "m3", "m2", "m1", "m0"], False),
    ],
)
def test_a_part_of_a_list_is_the_same_whether_the_whole_file_is_known_or_not(
    query, expected, has_more, client, write, thread
):
    write("threads/a/messages.jsonl", "".join(f'{{"id":"m{n}","created":1}}\n' for n in range(5)))
    for _ in range(3):
        answer = client.get(f"{thread}?{query}").json()
        assert [message["id"] for message in answer["data"]] == expected
        assert (answer["first_id"], answer["last_id"]) == (expected[0], expected[-1])
        assert answer["has_more"] is has_more
        client.get(thread)


@pytest.mark.parametrize("query", ["limit=0&order=desc", "limit=0", "after=nope", "limit=101"])
def test_a_wrong_part_is_a_400(query, client, two):
    assert client.get(f"{two}?{query}").status_code == 400


def test_a_list_is_never_older_than_the_file(client, two, file):
    for seconds, text in enumerate(("one", "two"), start=1_600_000_000):
        file.write_text(f"{LINE.replace('hi', text)}\n")
        os.utime(file, (seconds, seconds + 0.5))
        for _ in range(3):
            assert texts(client.get(two)) == [text]


def test_messages_posted_at_once_are_all_there(client, thread, file):
    with ThreadPoolExecutor(8) as pool:
        posts = pool.map(
            lambda n: client.post(thread, json={"role": "user", "content": str(n)}), range(40)
        )
        answers = [post.json() for post in posts]
    assert sorted(texts(client.get(thread)), key=int) == [str(n) for n in range(40)]
    stored = [json.loads(line)["id"] for line in file.read_text().splitlines()]
    assert stored == sorted(stored)
    assert sorted(answer["id"] for answer in answers) == stored
