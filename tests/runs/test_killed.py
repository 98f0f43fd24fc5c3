"""A server that is killed while it answers: the next one says so, and what was said is kept."""

from __future__ import annotations

import json
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests import calling
from tests.running import Command

PATIENCE = 60


@pytest.fixture
def folder(data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any) -> Path:
    calling.install(tmp_path / "engine", monkeypatch)
    calling.put_model(data_folder)
    write("assistants/bob/assistant.json", {"model": "calling"})
    write("threads/t/thread.json", {})
    words = "[[slow 0.05]] " + "on and on " * 300
    line = {"id": "one", "role": "user", "content": words}
    write("threads/t/messages.jsonl", json.dumps(line) + "\n")
    return data_folder


def started(folder: Path) -> Command:
    return Command("serve", "--data-folder", folder, "--port", "0")


def port_of(command: Command) -> int:
    return int(command.read_line().split("http://127.0.0.1:")[1].split()[0])


def ask(port: int, method: str, path: str, body: Any = None) -> Any:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(method, f"/v1/threads/t{path}", None if body is None else json.dumps(body))
    answer = json.load(connection.getresponse())
    connection.close()
    return answer


def test_a_run_whose_server_is_killed_has_failed_and_keeps_what_it_said(folder):
    with started(folder) as command:
        port = port_of(command)
        run = ask(port, "POST", "/runs", {"assistant_id": "bob"})
        end = time.monotonic() + PATIENCE
        while "on and on" not in said(ask(port, "GET", "/messages")["data"][-1]):
            assert time.monotonic() < end
            time.sleep(0.05)
        command.process.kill()
        command.process.wait(PATIENCE)
    assert list((folder / "threads/t").glob(".reply-*.json"))
    with started(folder) as command:
        port = port_of(command)
        found = ask(port, "GET", f"/runs/{run['id']}")
        assert (found["status"], found["last_error"]["code"]) == ("failed", "server_error")
        reply = ask(port, "GET", "/messages")["data"][-1]
        assert (reply["status"], reply["run_id"]) == ("incomplete", run["id"])
        assert "on and on" in said(reply)
        # And the thread is free.
        again = ask(port, "POST", "/runs", {"assistant_id": "bob", "max_completion_tokens": 1})
        assert again["status"] == "queued"
    assert not list((folder / "threads/t").glob(".reply-*.json"))


def said(message: dict[str, Any]) -> str:
    """What the assistant has said; the user's own words do not count."""
    return message["content"][0]["text"]["value"] if message["role"] == "assistant" else ""
