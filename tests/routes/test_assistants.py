from __future__ import annotations

import pytest

JAN = {"id": "jan", "object": "assistant", "created_at": 1705312345678, "name": "Jan", "x": [1]}


@pytest.fixture(autouse=True)
def assistants(write):
    write("assistants/jan/assistant.json", JAN)
    write("assistants/tutor/assistant.json", {"created_at": 1750945742.536, "name": "Tutor"})


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
