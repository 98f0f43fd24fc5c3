from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import time

import pytest

from jan_server import replying
from jan_server.replying import MARK, Quota, asks_for_it, refuses_it, waiting
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.store.history import Message
from jan_server.types.run import StoredRun
from tests.api import Api
from tests.running import Command, served

ECHO = {
    "engine": "echo",
    "settings": {"prompt_template": "{prompt}"},
    "parameters": {"max_tokens": 4},
}
FLAGGED = {"metadata": {"auto_reply": True}}


# What waits, from values


def message(id, role, run_id=None):
    value = {"role": role, "run_id": run_id}
    return Message(id=id, value=value, seconds=0, raw=b"")


def run(id, answers):
    return StoredRun(
        id=id,
        created_at=1,
        thread_id="t",
        assistant_id="jan",
        status="completed",
        model="m",
        metadata={MARK: answers} if answers else {},
    )


U1, U2, BY_HAND = message("u1", "user"), message("u2", "user"), message("h", "assistant")
A1, BY_CLIENT = message("a1", "assistant", "r1"), message("a2", "assistant", "r2")
R1, CLIENTS = run("r1", "u1"), run("r2", None)


@pytest.mark.parametrize(
    ("messages", "runs", "expected"),
    [
        ([], [], None),
        ([BY_HAND], [], None),
        ([U1], [], "u1"),
        ([BY_HAND, U1], [], "u1"),
        ([U1, U2], [], "u2"),
        ([U1], [R1], None),
        ([U1, A1], [R1], None),
        ([U1, BY_HAND], [], None),
        ([U1, BY_CLIENT], [CLIENTS], None),
        ([U1, A1, U2], [R1], "u2"),
        ([U1, U2, A1], [R1], "u2"),
        ([U1, U2, A1, BY_HAND], [R1], None),
    ],
    ids=[
        "nothing is there",
        "no user's",
        "the first",
        "after an assistant's",
        "the last of several",
        "one that failed is not tried again",
        "answered",
        "answered by hand",
        "answered for a client",
        "the next",
        "one that came while the one before was answered",
        "and was then answered by hand",
    ],
)
def test_the_last_users_message_waits_unless_it_was_answered_or_tried(messages, runs, expected):
    assert waiting(messages, runs) == expected


@pytest.mark.parametrize(
    ("thread", "asks", "refuses"),
    [
        ({}, False, False),
        (FLAGGED, True, False),
        ({"metadata": {"auto_reply": False}}, False, True),
        ({"metadata": {"auto_reply": "true"}}, False, False),
        ({"metadata": []}, False, False),
    ],
)
def test_only_true_asks_for_it_and_only_false_refuses_it(thread, asks, refuses):
    assert (asks_for_it(thread), refuses_it(thread)) == (asks, refuses)


def test_a_thread_has_a_quota_and_is_forgotten_when_that_was_long_ago(monkeypatch):
    monkeypatch.setattr(replying, "MOST", 2)
    seconds = [0.0]
    quota = Quota(clock=lambda: seconds[0])
    assert [quota.take(thread_id) for thread_id in "aaab"] == [True, True, False, True]
    assert repr(quota) == "<Quota of ['a', 'b']>"
    seconds[0] = 60.0
    assert [quota.take("c"), repr(quota)] == [True, "<Quota of ['c']>"]
    assert quota.take("a")


def test_a_thread_that_is_gone_again_is_no_trouble(settings, caplog):
    services = Services(settings)
    asyncio.run(services.replying._answer("gone"))
    assert caplog.messages == []


# On real servers


@pytest.fixture
def server(data_folder, write):
    write("models/echo/model.json", ECHO)
    settings = Settings(data_folder=data_folder, fsync=False, default_model="echo")
    with served(settings) as base, Api(base, data_folder) as api:
        api.get("/threads")  # The first look at the folder is over.
        yield api


def append(path, text, role="user"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({"role": role, "content": text}) + "\n")


def lines(path):
    """Who said what; the file's own lines, without one that is being written."""
    found = []
    for line in path.read_text().rpartition("\n")[0].splitlines():
        value = json.loads(line)
        content = value["content"]
        found.append((value["role"], content if isinstance(content, str) else said(content)))
    return found


def said(content):
    return content[0]["text"]["value"]


def until(is_so, what=lambda: None):
    deadline = time.monotonic() + 90
    while not is_so():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def states(server):
    """Of the runs: a line is in the file a moment before its run is over."""
    return [run["status"] for run in server.get("/threads/t/runs?order=asc&limit=-1")["data"]]


def answers(path):
    return [text for role, text in lines(path) if role == "assistant"]


def test_a_line_that_a_shell_appends_is_answered_in_the_file(server, data_folder, write):
    write("threads/t/thread.json", FLAGGED)
    path = data_folder / "threads/t/messages.jsonl"
    command = """echo '{"role": "user", "content": "Hello there"}' >> "$0" """
    subprocess.run(["sh", "-c", command, path], check=True, timeout=20)
    until(lambda: answers(path), lambda: path.read_text())
    assert lines(path) == [("user", "Hello there"), ("assistant", "Hello there")]
    append(path, "again")
    until(lambda: len(answers(path)) == 2, lambda: path.read_text())
    until(lambda: states(server) == ["completed", "completed"], lambda: states(server))


def test_nothing_is_answered_where_nobody_asked_for_it(server, data_folder, write):
    write("threads/plain/thread.json", {})
    write("threads/t/thread.json", FLAGGED)
    plain, flagged = (data_folder / f"threads/{id}/messages.jsonl" for id in ("plain", "t"))
    append(plain, "one")
    append(flagged, "a reply by hand", role="assistant")
    server.answer("/threads/t/messages", "POST", {"role": "user", "content": "by the API"})
    append(data_folder / "threads/last/messages.jsonl", "last")
    write("threads/last/thread.json", FLAGGED)
    until(lambda: answers(data_folder / "threads/last/messages.jsonl"))
    assert answers(plain) == []
    assert answers(flagged) == ["a reply by hand"]


def test_what_waits_when_the_server_starts_is_answered(data_folder, write):
    write("models/echo/model.json", ECHO)
    write("threads/t/thread.json", FLAGGED)
    path = data_folder / "threads/t/messages.jsonl"
    append(path, "before")
    settings = Settings(data_folder=data_folder, fsync=False, default_model="echo")
    with served(settings):
        until(lambda: answers(path) == ["before"], lambda: path.read_text())


def test_a_thread_that_begins_to_ask_is_answered_at_once(server, data_folder, write):
    write("threads/t/thread.json", {})
    path = data_folder / "threads/t/messages.jsonl"
    append(path, "one")
    until(lambda: "t" in server.listed())
    write("threads/t/thread.json", FLAGGED)
    until(lambda: answers(path) == ["one"], lambda: path.read_text())


def test_a_line_that_comes_while_another_is_answered_has_its_own_answer(server, data_folder, write):
    write("threads/t/thread.json", FLAGGED)
    path = data_folder / "threads/t/messages.jsonl"
    append(path, "[[slow 0.3]] one two three")
    until(lambda: server.get("/threads/t/runs")["data"])
    append(path, "later")
    until(lambda: len(answers(path)) == 2, lambda: path.read_text())
    assert [role for role, _ in lines(path)] == ["user", "user", "assistant", "assistant"]


def test_two_servers_answer_a_line_once(server, data_folder, write):
    settings = Settings(data_folder=data_folder, fsync=False, default_model="echo")
    path = data_folder / "threads/t/messages.jsonl"
    with served(settings) as base, Api(base, data_folder) as other:
        other.get("/threads")
        write("threads/t/thread.json", FLAGGED)
        for number in range(5):
            append(path, f"line {number}")
            until(lambda: len(answers(path)) > number, lambda: path.read_text())  # noqa: B023
        # Both have heard of all of it when they tell of what comes last.
        for api in (server, other):
            until(lambda: len(api.texts("t")) == 10)  # noqa: B023
    assert [role for role, _ in lines(path)] == ["user", "assistant"] * 5


def test_a_line_that_fails_is_tried_once(server, data_folder, write):
    write("threads/t/thread.json", FLAGGED)
    path = data_folder / "threads/t/messages.jsonl"
    append(path, "[[fail]]")
    until(lambda: any(r["status"] == "failed" for r in server.get("/threads/t/runs")["data"]))
    write("threads/t/thread.json", {**FLAGGED, "title": "Changed"})
    append(data_folder / "threads/next/messages.jsonl", "next")
    write("threads/next/thread.json", FLAGGED)
    until(lambda: answers(data_folder / "threads/next/messages.jsonl"))
    assert len(server.get("/threads/t/runs")["data"]) == 1
    append(path, "better")
    until(lambda: len(server.get("/threads/t/runs")["data"]) == 2)


def test_who_asks_for_each_answer_is_not_answered_for_ever(server, data_folder, write, monkeypatch):
    monkeypatch.setattr(replying, "MOST", 5)
    write("threads/t/thread.json", FLAGGED)
    path = data_folder / "threads/t/messages.jsonl"
    for number in range(5):
        append(path, str(number))
        until(lambda: len(answers(path)) > number, lambda: path.read_text())  # noqa: B023
    append(path, "one too many")
    append(data_folder / "threads/next/messages.jsonl", "next")
    write("threads/next/thread.json", FLAGGED)
    until(lambda: answers(data_folder / "threads/next/messages.jsonl"))
    assert len(answers(path)) == 5


def test_a_read_only_server_answers_nothing(data_folder, write):
    write("models/echo/model.json", ECHO)
    write("threads/t/thread.json", FLAGGED)
    path = data_folder / "threads/t/messages.jsonl"
    append(path, "hello")
    settings = Settings(data_folder=data_folder, read_only=True, default_model="echo")
    with served(settings) as base, Api(base, data_folder) as api:
        api.get("/threads")
    assert lines(path) == [("user", "hello")]


# In the terminal


@contextlib.contextmanager
def watching(data_folder, *arguments):
    with Command("watch", *arguments, "--data-folder", data_folder) as command:
        command.read_line()
        yield command
        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(30) == 0


@pytest.fixture
def folder(data_folder, write):
    write("models/echo/model.json", ECHO)
    write(".jan_server/settings.toml", 'default-model = "echo"\nfsync = "off"\n')
    for id in ("t", "other"):
        write(f"threads/{id}/thread.json", {})
    write("threads/refused/thread.json", {"metadata": {"auto_reply": False}})
    return data_folder


def test_watch_answers_in_the_thread_that_is_named(folder):
    path, other = (folder / f"threads/{id}/messages.jsonl" for id in ("t", "other"))
    with watching(folder, "t") as command:
        assert command.lines == [f"watching t of {folder} (Ctrl-C stops)"]
        append(other, "no")
        append(path, "yes")
        until(lambda: answers(path) == ["yes"], lambda: path.read_text())
    assert answers(other) == []


def test_watch_without_a_thread_answers_in_all_that_do_not_refuse(folder):
    paths = [folder / f"threads/{id}/messages.jsonl" for id in ("refused", "t", "other")]
    with watching(folder):
        for path in paths:
            append(path, "hi")
        until(lambda: all(map(answers, paths[1:])))
    assert [answers(path) for path in paths] == [[], ["hi"], ["hi"]]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [(["nope"], 1, "nope"), (["--data-folder", "/nowhere/at/all"], 2, "no data folder")],
)
def test_what_cannot_be_watched_is_one_line(folder, arguments, code, told):
    with Command("watch", "--data-folder", folder, *arguments) as command:
        _, error = command.process.communicate(timeout=30)
    assert (command.process.returncode, told in error, error.count("\n")) == (code, True, 1)
