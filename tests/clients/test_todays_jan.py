"""Today's Jan and this server on one folder."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from http.client import HTTPConnection
from itertools import pairwise
from typing import Any

import pytest

from jan_server.settings import Settings
from tests.api import Api
from tests.clients.todays_jan import UUID, TodaysJan
from tests.running import served

SECONDS = 60

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


def found_by(api, id):
    return {m["id"]: texts([m])[0] for m in api.get(f"/threads/{id}/messages")["data"]}


def until(is_so):
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


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


# Both at once


class Events(threading.Thread):
    """All that `/events` tells, until the stream is ended."""

    def __init__(self, base: str) -> None:
        super().__init__(name="events")
        self._connection = HTTPConnection(base.removeprefix("http://"), timeout=60)
        self._connection.request("GET", "/v1/events")
        self._response = self._connection.getresponse()
        self.told: list[dict[str, Any]] = []

    def __enter__(self) -> Events:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection.sock:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self.join(20)
        self._response.close()
        self._connection.close()

    def run(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            for line in self._response:
                if line.startswith(b"data: {"):
                    self.told.append(json.loads(line.removeprefix(b"data: ")))

    def by_others(self, id: str) -> list[str]:
        """What others than the server did to it."""
        told = [event for event in list(self.told) if event.get("id") == id]
        return [event["change"] for event in told if event["cause"] == "file"]

    def tell_gone(self, id: str) -> bool:
        return self.by_others(id)[-1:] == ["deleted"]

    def tell_of_two(self, id: str) -> bool:
        """That others made a message that was there."""
        changes = ["created", *self.by_others(id)]
        kinds = [change for change in changes if change != "updated"]
        return any(one == next == "created" for one, next in pairwise(kinds))

    @property
    def has_gaps(self) -> bool:
        return any(event.get("type") == "resync" for event in list(self.told))


class Ours:
    """What the server acknowledged: the text that each message of ours has."""

    def __init__(self, api: Api, thread_id: str, saved: str) -> None:
        self._api = api
        self._path = f"/threads/{thread_id}"
        self._saved = f"/threads/{saved}"
        self.texts: dict[str, str] = {}
        self.number = 0

    def append(self) -> None:
        text = f"ours {self.number}"
        _, made, _ = self._api.answer(
            f"{self._path}/messages", "POST", {"role": "user", "content": text}
        )
        self.texts[made["id"]] = text

    def change(self) -> None:
        """A message of ours; Jan may have cut it off."""
        id = random.choice(list(self.texts))
        text = f"changed {self.number}"
        status, _, _ = self._api.answer(f"{self._path}/messages/{id}", "PATCH", {"content": text})
        if status == 200:
            self.texts[id] = text

    def save(self) -> None:
        status, answer, _ = self._api.answer(self._saved, "PATCH", {"ours": self.number})
        assert status in (200, 409), answer  # 409: Jan has emptied the file this moment.

    def untold(self, events: Events, found: dict[str, str]) -> set[str]:
        """Those that are gone, or not as they were, and it was not told."""
        gone = {id for id in self.texts.keys() - found.keys() if not events.tell_gone(id)}
        changed = {id for id in self.texts.keys() & found.keys() if found[id] != self.texts[id]}
        return gone | {id for id in changed if not events.by_others(id)}

    def work(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.number += 1
            random.choice([self.append, self.append, self.append, self.change, self.save])()
            time.sleep(random.random() / 100)


def test_two_who_write_for_a_minute_lose_nothing_but_what_jan_cuts_off(data_folder, jan):
    id, saved = jan.create("Both"), jan.create("Saved")
    folder = data_folder / "threads" / id
    command = [sys.executable, "-m", "tests.clients.todays_jan", str(data_folder), id, saved]
    command.append(str(SECONDS))
    with (
        served(Settings(data_folder=data_folder)) as base,
        Api(base, data_folder) as api,
        Events(base) as events,
        subprocess.Popen(command, stdout=subprocess.PIPE) as other,
    ):
        ours = Ours(api, id, saved)
        ours.append()
        ours.work(SECONDS)
        said = json.loads(other.communicate(timeout=60)[0])
        # The last that happened is told.
        jan.say(id, "jan is done")
        until(lambda: any("jan is done" in json.dumps(event) for event in list(events.told)))
        until(lambda: not ours.untold(events, found_by(api, id)))
    # After a restart all is as it was, and whatever was on its way has arrived.
    with served(Settings(data_folder=data_folder)) as base, Api(base, data_folder) as api:
        found = found_by(api, id)
        thread, api_title = api.get(f"/threads/{id}"), api.get(f"/threads/{saved}")["title"]
        reported = api.report(f"threads/{id}")

    assert (len(ours.texts) > SECONDS, len(said) > SECONDS) == (True, True)
    # Of what Jan said each is there once, or in a copy that is reported.
    counted = Counter(found.values())
    copies = {path.name: path.read_text() for path in folder.glob("messages.conflict-*")}
    kept = "".join(copies.values())
    assert [text for text in said if not counted[text] and f'"{text}"' not in kept] == []
    assert [text for text in said if counted[text] > 1] == []
    assert copies.keys() <= {line.split(" ")[0] for line in reported}
    # Of what we acknowledged each is there as it was, or it is told that others changed it or cut
    # it off; and what others made again was told to be gone.
    assert not events.has_gaps
    assert ours.untold(events, found) == set()
    assert [m for m in ours.texts if events.tell_of_two(m)] == []
    assert texts(jan.messages(id))[-1] == "jan is done"
    assert (thread["title"], api_title) == ("Both", "Saved")
