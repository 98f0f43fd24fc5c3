from __future__ import annotations

import json

import pytest

from jan_server.settings import Settings
from tests.conftest import tree
from tests.running import served


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_the_one_that_changed_last_comes_first(run, chat, data_folder):
    chat("jan_1705312345", "First", updated=1705312345000)
    chat("Work/jan_1705398745", "日本", updated=1705398745000)
    before = tree(data_folder)
    expected = [
        "ID              CHANGED           TITLE",
        "jan_1705398745  2024-01-16 09:52  Work/ 日本",
        "jan_1705312345  2024-01-15 09:52  First",
    ]
    for arguments in ([], ["list"]):
        done = run(*arguments)
        assert (done.exit_code, done.stdout.splitlines()) == (0, expected)
    assert run("--limit", "1").stdout.splitlines() == expected[:2]
    assert tree(data_folder) == before


def test_json_is_an_array(run, chat, write):
    chat("a", "First", updated=1705312345000)
    chat("Work/b", None, updated=1705398745000)
    write("threads/broken/thread.json", '{"title": "x",}')
    found = json.loads(run("--json").stdout)
    assert found.pop() == {
        "id": "broken",
        "title": "",
        "updated_at": None,
        "folder": None,
        "problem": "threads/broken/thread.json:1:15 expected a key in double quotes",
    }
    assert found == [
        {"id": "b", "title": "", "updated_at": 1705398745, "folder": "Work", "problem": None},
        {"id": "a", "title": "First", "updated_at": 1705312345, "folder": None, "problem": None},
    ]


def test_a_broken_one_is_shown_with_its_place(run, write):
    write("threads/broken/thread.json", "{")
    assert "broken: threads/broken/thread.json:1:2" in run().stdout


def test_none_is_a_sentence_or_an_empty_array(run, data_folder):
    data_folder.mkdir()
    assert run().stdout == "There are no threads.\n"
    assert json.loads(run("--json").stdout) == []


def test_a_folder_that_is_not_there_is_wrong_usage(run, data_folder):
    done = run()
    assert (done.exit_code, done.stdout, data_folder.exists()) == (2, "", False)


def test_a_running_server_is_no_hindrance(run, chat, data_folder):
    chat("a", "First")
    with served(Settings(data_folder=data_folder, fsync=False)):
        assert "First" in run().stdout


def test_a_title_cannot_speak_to_the_terminal(run, chat):
    chat("a", "[b]\x1b]0;x\x07\n")
    assert r"[b]\x1b]0;x\x07\n" in run().stdout
