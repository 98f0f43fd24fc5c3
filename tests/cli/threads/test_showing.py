from __future__ import annotations

import json

from tests.cli.threads.conftest import message
from tests.conftest import tree


def test_a_chat_is_shown_to_be_read(run, chat, data_folder):
    chat("a", "Oats", "Remember\nthe milk.", message("Yes.", role="assistant"))
    before = tree(data_folder)
    done = run("show", "a")
    assert (done.exit_code, done.stdout.splitlines()) == (
        0,
        ["Oats", "", "user:", "Remember", "the milk.", "", "assistant:", "Yes."],
    )
    assert tree(data_folder) == before


def test_json_has_every_message(run, chat):
    chat("a", "Oats", message("Hi", id="m1", created=1705312345000), message("Ho", role=1, id="m2"))
    assert json.loads(run("show", "a", "--json").stdout) == {
        "id": "a",
        "title": "Oats",
        "messages": [
            {"id": "m1", "role": "user", "created_at": 1705312345, "text": "Hi"},
            {"id": "m2", "role": "", "created_at": 1705312345, "text": "Ho"},
        ],
        "problems": [],
    }


def test_what_is_broken_is_told_and_hides_nothing_else(run, chat, write):
    chat("a", "Oats", '{"role": "user" "content"}', "Hi")
    write("threads/a/thread.json", "{")
    lines = run("show", "a").stdout.splitlines()
    assert lines[:4] == ["a", "", "user:", "Hi"]
    assert lines[5].startswith("threads/a/thread.json:1:2")
    assert lines[7] == "threads/a/messages.jsonl:1:17 expected ','"
    assert len(json.loads(run("show", "a", "--json").stdout)["problems"]) == 2


def test_a_thread_without_a_title_is_called_by_its_id(run, chat):
    chat("a", 5)
    assert run("show", "a").stdout == "a\n"


def test_an_unknown_thread_is_a_failure(run, chat):
    chat("a", "Oats")
    done = run("show", "b")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "jan_server: No thread has the id 'b'.\n"
