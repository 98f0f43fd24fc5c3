"""Today's Jan and this server on one folder."""

from __future__ import annotations

import time

import pytest

from jan_server.settings import Settings
from tests.api import Api
from tests.clients.todays_jan import UUID, TodaysJan
from tests.running import served

ASSISTANT = {"assistant_id": "jan", "assistant_name": "Jan", "instructions": "Be brief."}
MODEL = {"id": "tiny", "settings": {}, "parameters": {}, "engine": "llamacpp"}


@pytest.fixture
def jan(data_folder, write):
    write("store.json", {"version": "0.7.2"})
    write("threads/.keep", "")
    return TodaysJan(data_folder)


@pytest.fixture
def api(data_folder, jan):
    with (
        served(Settings(data_folder=data_folder, fsync=False)) as base,
        Api(base, data_folder) as a,
    ):
        yield a


def is_sorted(value):
    if isinstance(value, dict):
        return list(value) == sorted(value) and all(map(is_sorted, value.values()))
    return all(map(is_sorted, value)) if isinstance(value, list) else True


def texts(messages):
    return [message["content"][0]["text"]["value"] for message in messages]


# What we write


def test_a_thread_that_we_make_is_one_that_jan_could_have_made(api, jan):
    _, made, _ = api.answer("/threads", "POST", {"assistants": [{**ASSISTANT, "model": MODEL}]})
    thread = jan.threads()[made["id"]]
    assert UUID.fullmatch(made["id"])
    assert is_sorted(thread)
    assert thread["assistants"] == [
        {"id": "jan", "instructions": "Be brief.", "model": MODEL, "name": "Jan"}
    ]
    assert thread["model"] == {"id": "tiny", "provider": "llamacpp"}
    assert all(isinstance(thread[key], float) for key in ("created", "updated"))
    assert abs(thread["created"] - time.time()) < 60


def test_a_thread_without_any_choice_is_shown_too(api, jan):
    _, made, _ = api.answer("/threads", "POST")
    assert made["id"] in jan.threads()


def test_our_messages_are_lines_that_jan_can_read(api, jan, data_folder):
    _, made, _ = api.answer("/threads", "POST", {"messages": [{"role": "user", "content": "one"}]})
    id = made["id"]
    api.answer(f"/threads/{id}/messages", "POST", {"role": "assistant", "content": "two"})
    jan.say(id, "three")
    _, last, _ = api.answer(f"/threads/{id}/messages", "POST", {"role": "user", "content": "four"})
    api.answer(f"/threads/{id}/messages/{last['id']}", "PATCH", {"content": "five"})
    messages = jan.messages(id)
    assert texts(messages) == ["one", "two", "three", "five"]
    assert is_sorted(messages)
    assert all(isinstance(message["created_at"], int) for message in messages)
    raw = (data_folder / "threads" / id / "messages.jsonl").read_bytes()
    assert raw.endswith(b"}\n")
    assert b"\n\n" not in raw


def test_a_title_that_we_change_is_the_one_that_jan_shows(api, jan):
    id = jan.create("Old")
    api.answer(f"/threads/{id}", "PATCH", {"title": "New"})
    thread = jan.threads()[id]
    assert (thread["title"], isinstance(thread["updated"], float)) == ("New", True)
    assert is_sorted(thread)


# What Jan writes


def test_what_jan_writes_is_shown(api, jan):
    id = jan.create("Weekend")
    jan.say(id, "Plan it")
    jan.say(id, "Sure.", role="assistant")
    thread = api.get(f"/threads/{id}")
    assert (thread["title"], thread["model"]["id"]) == ("Weekend", "tiny")
    assert abs(thread["created_at"] - time.time()) < 60
    messages = api.get(f"/threads/{id}/messages")["data"]
    assert texts(messages) == ["Plan it", "Sure."]
    assert all(abs(message["created_at"] - time.time()) < 60 for message in messages)


def test_a_setting_makes_new_threads_old_ones(data_folder, jan):
    chosen = Settings(data_folder=data_folder, fsync=False, new_files="jan-0.4")
    with served(chosen) as base, Api(base, data_folder) as api:
        _, made, _ = api.answer("/threads", "POST")
    assert made["id"].startswith("jan_")
