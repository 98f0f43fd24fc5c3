"""What is found of a text, and where."""

from __future__ import annotations

import json

import pytest

from jan_server.store import Store
from jan_server.store.search import search


@pytest.fixture
def store(data_folder):
    data_folder.mkdir()
    return Store(data_folder, fsync=False)


@pytest.fixture
def places(store):
    def find(text):
        return [(hit.thread_id, hit.line, hit.message_id) for hit in search(store, text)]

    return find


def line(text, **keys):
    return json.dumps({"role": "user", "content": text, **keys}, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        ("Straße", "STRASSE"[:4]),
        ("Übersicht", "übersicht"),
        ("日本語", "本"),
        ('say "hi"', '"hi"'),
        ("a/b", "a/b"),
        ("one\ntwo", "one\ntwo"),
        ("back\\slash", "k\\s"),
        ("a.b", "A.B"),
    ],
)
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_a_text_is_found_however_json_spells_it(write, places, stored, wanted, ensure_ascii):
    message = json.dumps({"id": "m", "content": stored}, ensure_ascii=ensure_ascii)
    write("threads/a/messages.jsonl", message + "\n")
    assert places(wanted) == [("a", 1, "m")]
    assert places("a*b") == []


def test_a_letter_may_be_spelled_as_a_number(write, places):
    write("threads/a/messages.jsonl", r'{"id": "m", "content": "\u006fats"}')
    assert places("oats") == [("a", 1, "m")]


def test_keys_and_ids_are_not_searched(write, places):
    write("threads/a/messages.jsonl", line("hi", id="oats", metadata={"oats": "oats"}))
    assert places("oats") == []


def test_ids_are_those_by_which_messages_are_served(write, places):
    lines = [line("oats", id="m"), "\n", line("oats", id="m"), "oats\n", line("oats")]
    write("threads/a/messages.jsonl", "".join(lines))
    [first, second, broken, last] = places("oats")
    assert (first, second, broken) == (("a", 1, "m"), ("a", 3, "m.2"), ("a", 4, None))
    assert (last[1], last[2][:5]) == (5, "line-")


def test_parts_of_a_message_are_searched(write, places):
    content = [{"type": "text", "text": {"value": "Bread"}}, {"type": "text", "text": "Oats"}]
    write("threads/a/messages.jsonl", json.dumps({"id": "m", "content": content}))
    assert places("oats") == [("a", 1, "m")]


def test_a_thread_that_cannot_be_read_hides_no_other(write, places, tmp_path, data_folder):
    write("threads/a/thread.json", {"title": "Oats"})
    (tmp_path / "out.jsonl").write_text(line("oats"))
    (data_folder / "threads/a/messages.jsonl").symlink_to(tmp_path / "out.jsonl")
    (data_folder / "threads/dir/messages.jsonl").mkdir(parents=True)
    write("threads/dir/thread.json", {"title": "x"})
    write("threads/b/messages.jsonl", line("oats", id="m"))
    assert sorted(places("oats")) == [("a", None, None), ("b", 1, "m")]


def test_messages_of_a_thread_whose_document_is_broken_are_found(write, places):
    write("threads/a/thread.json", "{")
    write("threads/a/messages.jsonl", line("oats", id="m"))
    assert places("oats") == [("a", 1, "m")]


def test_a_title_that_is_none_is_empty(write, places):
    write("threads/a/thread.json", {"title": ["oats"]})
    write("threads/b/thread.json", "oats")
    assert places("oats") == []


def test_the_thread_that_changed_last_comes_first(write, places):
    for id, updated in (("a", 1705312345000), ("b", 1705312347000), ("c", 1705312346000)):
        write(f"threads/{id}/thread.json", {"title": "Oats", "updated": updated})
    assert [id for id, *_ in places("oats")] == ["b", "c", "a"]
