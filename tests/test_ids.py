"""Ids: which may be new, which may be looked up, and what time is in them."""

from __future__ import annotations

import pytest
from ulid import ULID

from jan_server import ids
from jan_server.errors import InvalidId

GOOD_NEW = ["a", "jan", "jan_1705312345", "0f3c1c9e-5a41-4c1f", "a.b", "me@home+1", "x" * 128]
BAD_NEW = [
    "",
    ".",
    "..",
    ".x",
    "_x",
    "-x",
    "a/b",
    "a\\b",
    "a b",
    "é",
    "a\0",
    "a\n",
    "x" * 129,
    "..%2f",
]


@pytest.mark.parametrize("text", GOOD_NEW)
def test_a_plain_name_may_be_new(text: str) -> None:
    assert ids.is_new_id(text)
    assert ids.check_new_id("thread", text) == text


@pytest.mark.parametrize("text", BAD_NEW)
def test_any_other_name_may_not_be_new(text: str) -> None:
    assert not ids.is_new_id(text)
    with pytest.raises(InvalidId) as caught:
        ids.check_new_id("assistant", text, param="assistants[0].assistant_id")
    assert caught.value.param == "assistants[0].assistant_id"


@pytest.mark.parametrize("text", ["a", "org/name", "cortex.so/tiny/1b-gguf"])
def test_a_models_id_may_have_parts(text: str) -> None:
    assert ids.is_new_id(text, kind="model")


@pytest.mark.parametrize(
    "text",
    ["org/", "/name", "org//name", "org/../name", "a/b/c/d/e", "download/x", "x/start", "hub"],
)
def test_parts_of_a_models_id_are_names_and_not_words_of_the_api(text: str) -> None:
    assert not ids.is_new_id(text, kind="model")


def test_words_of_the_models_api_may_name_other_things() -> None:
    assert ids.is_new_id("start", kind="thread")


@pytest.mark.parametrize(
    "text", ["jan_1 (copy)", "Übersicht", "日本語", ".hidden", "x" * 255, "a%2fb"]
)
def test_whatever_a_folder_can_be_called_may_be_looked_up(text: str) -> None:
    assert ids.check_lookup_id("thread", text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "../evil",
        "a/b",
        "a\\b",
        "a\0b",
        "a\x1fb",
        "a\x7f",
        "x" * 256,
        "é" * 128,
        "\udcff",
    ],
)
def test_what_is_no_component_of_a_path_is_never_looked_up(text: str) -> None:
    assert not ids.is_lookup_id(text)
    with pytest.raises(InvalidId):
        ids.check_lookup_id("thread", text)


@pytest.mark.parametrize("text", ["a/../b", "a//b", "/a", "a/", "a/.", "a\\..\\b/c"])
def test_every_part_of_a_models_id_is_checked(text: str) -> None:
    with pytest.raises(InvalidId):
        ids.check_lookup_id("model", text)
    assert ids.check_lookup_id("model", "org/My Model") == "org/My Model"


def test_message_ids_increase_even_when_the_clock_does_not() -> None:
    found = ["01HM5ZK3Q2V8W7T6R5N4M3K2J1"]
    future = str(ULID.from_timestamp(4_000_000_000.0))
    found += [ids.new_message_id(found[-1]), future]
    found += [ids.new_message_id(future)]
    found += [ids.new_message_id(found[-1])]
    assert found == sorted(found)
    assert len(set(found)) == 5
    assert all(map(ids.is_ulid, found))


@pytest.mark.parametrize("after", [None, "line-abc", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"])
def test_a_message_id_is_made_after_anything(after: str | None) -> None:
    assert ids.is_ulid(ids.new_message_id(after))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("jan_1705312345", 1705312345.0),
        ("jan_1705312345_2", 1705312345.0),
        ("my_assistant_1705312345", 1705312345.0),
        ("undefined_1705312345", 1705312345.0),
        ("01HM5ZK3Q2V8W7T6R5N4M3K2J1", 1705302920.93),
        ("jan_17053", None),
        ("jan_99999999999", None),
        ("jan", None),
        ("0f3c1c9e-5a41-4c1f-9b53-0d1a2b3c4d5e", None),
        ("7ZZZZZZZZZZZZZZZZZZZZZZZZZ", None),
    ],
)
def test_the_time_in_an_id(text: str, seconds: float | None) -> None:
    assert ids.seconds_of(text) == seconds


def test_threads_are_named_as_their_jan_does() -> None:
    assert ids.new_thread_id("jan", 1705312345.9) == "jan_1705312345"
    assert ids.is_new_id(ids.new_uuid())
    assert ids.new_uuid() != ids.new_uuid()
