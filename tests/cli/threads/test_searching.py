from __future__ import annotations

import json

import pytest

from tests.cli.threads.conftest import message


@pytest.fixture
def found(run):
    def search(text):
        done = run("search", text, "--json")
        assert (done.exit_code, done.stderr) == (0, "")
        return json.loads(done.stdout)

    return search


def test_hits_stand_below_their_thread_with_file_line_and_message(run, chat):
    chat("a", "Oat milk", updated=1705312345000)
    chat("b", "Shopping", "Bread.", message("The OAT milk.", id="m2"), updated=1705312346000)
    chat("c", "Other", "Nothing.")
    done = run("search", "oat")
    assert (done.exit_code, done.stdout.splitlines()) == (
        0,
        ["b  Shopping", "  threads/b/messages.jsonl:2  m2  The OAT milk.", "a  Oat milk"],
    )


def test_json_is_an_array(found, chat):
    chat("Work/a", "Oat milk", "", message("x" * 50 + "oats\nand" + "y" * 50, id="m2"))
    assert found("OAT") == [
        {
            "thread_id": "a",
            "title": "Oat milk",
            "file": "threads/Work/a/thread.json",
            "line": None,
            "message_id": None,
            "role": None,
            "snippet": "Oat milk",
        },
        {
            "thread_id": "a",
            "title": "Oat milk",
            "file": "threads/Work/a/messages.jsonl",
            "line": 2,
            "message_id": "m2",
            "role": "user",
            "snippet": "…" + "x" * 40 + "oats and" + "y" * 35 + "…",
        },
    ]


def test_nothing_found_is_a_sentence_or_an_empty_array(run, found, chat):
    chat("a", "Oats", "Milk.")
    assert run("search", "bread\x1b").stdout == r"No thread has 'bread\\x1b' in it." + "\n"
    assert found("bread") == []


def test_nothing_to_search_for_is_wrong_usage(run, chat):
    chat("a", "Oats")
    assert run("search", " ").exit_code == 2


def test_a_broken_line_is_found_as_it_stands(run, found, chat):
    chat("a", "Shopping", '{"role": "user" "content": "oats"}', "oats")
    [broken, whole] = found("oats")
    assert (broken["line"], broken["message_id"], broken["role"]) == (1, None, None)
    assert '"content": "oats"' in broken["snippet"]
    assert (whole["line"], whole["role"]) == (2, "user")
    assert "messages.jsonl:1  no message  " in run("search", "oats").stdout


def test_what_is_found_cannot_speak_to_the_terminal(run, chat):
    chat("a", "\x1b[2J", message("oats \x1b[2J[red]", id="m"))
    assert r"\x1b[2J" in run("search", "oats").stdout
    assert "[red]" in run("search", "oats").stdout
    assert "\x1b" not in run("search", "oats").stdout
