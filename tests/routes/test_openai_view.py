"""What Jan wrote as OpenAI's clients see it, and what they write as Jan sees it."""

from __future__ import annotations

import json

import pytest

OPENAI = {"OpenAI-Beta": "assistants=v2"}
JANS = {
    "avatar": "",
    "id": "jan",
    "object": "assistant",
    "created_at": 1705312345678,
    "name": "Jan",
    "description": "A default assistant that can use all downloaded models",
    "model": "*",
    "instructions": "",
    "tools": [{"type": "retrieval", "enabled": False, "settings": {"top_k": 2}}],
    "file_ids": [],
}


def test_jans_assistant_in_openais_clients(client, write):
    path = write("assistants/jan/assistant.json", JANS)
    before = path.read_bytes()
    seen = client.get("/v1/assistants/jan", headers=OPENAI).json()
    assert seen == {
        **JANS,
        "created_at": 1705312345,
        "tools": [],
        "metadata": {},
        "tool_resources": {},
        "temperature": None,
        "top_p": None,
        "response_format": "auto",
    }
    [listed] = client.get("/v1/assistants", headers=OPENAI).json()["data"]
    assert listed == seen
    assert path.read_bytes() == before


def test_openais_assistant_in_jan(client, data_folder):
    sent = {"name": "Math Tutor", "model": "m", "instructions": "Count.", "temperature": 0.5}
    seen = client.post("/v1/assistants", json=sent, headers=OPENAI).json()
    file = json.loads((data_folder / "assistants/math-tutor/assistant.json").read_text())
    assert file["created_at"] > 1e12
    assert seen["created_at"] == file["created_at"] // 1000
    assert {**sent, "id": "math-tutor", "avatar": "", "file_ids": []}.items() <= file.items()
    changed = client.post(
        "/v1/assistants/math-tutor", json={"instructions": "Add."}, headers=OPENAI
    )
    assert (changed.json()["instructions"], changed.json()["tools"]) == ("Add.", [])


def test_messages_of_a_jan_in_openais_clients(client, write):
    write("threads/t/thread.json", {})
    lines = [
        {"id": "a", "role": "user", "status": "ready", "created": 1705312350123, "content": "hi"},
        {"id": "b", "role": "assistant", "status": "stopped", "created": 1705312351123},
    ]
    write("threads/t/messages.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    stopped, ready = client.get("/v1/threads/t/messages", headers=OPENAI).json()["data"]
    assert (ready["status"], ready["completed_at"]) == ("completed", 1705312350)
    assert (stopped["status"], stopped["incomplete_at"]) == ("incomplete", 1705312351)
    assert stopped["incomplete_details"] == {"reason": "run_cancelled"}
    assert client.get("/v1/threads/t/messages/a", headers=OPENAI).json() == ready
    assert client.get("/v1/threads/t/messages/a").json()["status"] == "ready"


def test_messages_of_openais_clients_in_jan(client, write, data_folder):
    write("threads/t/thread.json", {})
    sent = {"role": "user", "content": [{"type": "text", "text": "hi"}], "metadata": {"a": "b"}}
    seen = client.post("/v1/threads/t/messages", json=sent, headers=OPENAI).json()
    assert (seen["status"], seen["object"]) == ("completed", "thread.message")
    line = json.loads((data_folder / "threads/t/messages.jsonl").read_text())
    assert (line["status"], line["metadata"]) == ("ready", {"a": "b"})
    assert line["content"] == [{"type": "text", "text": {"value": "hi", "annotations": []}}]
    assert line["created"] > 1e12
    changed = client.post(
        f"/v1/threads/t/messages/{seen['id']}", json={"metadata": {}}, headers=OPENAI
    )
    assert (changed.json()["metadata"], changed.json()["status"]) == ({}, "completed")


@pytest.mark.parametrize("path", ["/assistants/a", "/threads/t", "/threads/t/messages/m"])
def test_each_view_has_its_entity_tag_and_a_change_goes_by_it(client, write, path):
    write("assistants/a/assistant.json", {})
    write("threads/t/thread.json", {})
    write("threads/t/messages.jsonl", '{"id": "m", "role": "user", "content": "hi"}\n')
    theirs = client.get(f"/v1{path}", headers=OPENAI).headers["etag"]
    ours = client.get(f"/v1{path}").headers["etag"]
    assert theirs != ours
    same = client.get(f"/v1{path}", headers={**OPENAI, "If-None-Match": theirs})
    assert same.status_code == 304
    body = {"metadata": {"a": "b"}}
    wrong = client.post(f"/v1{path}", json=body, headers={**OPENAI, "If-Match": ours})
    assert wrong.status_code == 412
    right = client.post(f"/v1{path}", json=body, headers={**OPENAI, "If-Match": theirs})
    assert right.status_code == 200
    new = client.get(f"/v1{path}", headers=OPENAI).headers["etag"]
    assert right.headers["etag"] == new
    gone = client.delete(f"/v1{path}", headers={**OPENAI, "If-Match": new})
    assert gone.status_code == 200


@pytest.mark.parametrize("method", ["post", "patch"])
@pytest.mark.parametrize("kind", ["code_interpreter", "file_search", "retrieval"])
def test_tools_that_are_not_to_be_had_are_refused_by_name(client, write, method, kind):
    write("assistants/a/assistant.json", {})
    path = "/v1/assistants" if method == "post" else "/v1/assistants/a"
    answer = getattr(client, method)(path, json={"tools": [{"type": kind}]})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "unsupported_parameter")
    assert error["param"] == "$.tools[0].type"


def test_v1s_file_ids_are_kept(client, data_folder):
    sent = {"name": "A", "file_ids": ["file-1"]}
    assert client.post("/v1/assistants", json=sent, headers=OPENAI).json()["file_ids"] == ["file-1"]
    message = {"role": "user", "content": "hi", "file_ids": ["file-2"]}
    thread = client.post("/v1/threads", json={"messages": [message]}, headers=OPENAI).json()
    [listed] = client.get(f"/v1/threads/{thread['id']}/messages", headers=OPENAI).json()["data"]
    assert listed["file_ids"] == ["file-2"]


def test_every_answer_says_how_long_it_took(client):
    for path in ("/v1/threads", "/v1/nowhere"):
        assert int(client.get(path).headers["openai-processing-ms"]) >= 0
