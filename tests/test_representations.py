from __future__ import annotations

from typing import NamedTuple

import pytest

from jan_server import representations
from jan_server.errors import InvalidRequest
from jan_server.representations import Client, client_of, list_object, listing
from jan_server.types.page import PageQuery


def test_a_thread_is_its_file_in_the_files_order_then_what_it_lacks():
    value = {"title": "Plan", "colour": "red", "id": "old name", "created": 1705312345678}

    shown = representations.thread(value, id="jan_1", created_at=1705312345)

    assert list(shown.items()) == [
        ("title", "Plan"),
        ("colour", "red"),
        ("id", "jan_1"),
        ("created", 1705312345678),
        ("created_at", 1705312345),
        ("object", "thread"),
        ("metadata", {}),
    ]


def test_created_at_in_milliseconds_is_put_right_in_its_place():
    value = {"created_at": 1757840130456, "metadata": {"a": 1}}
    assert representations.assistant(value, id="jan", created_at=1757840130) == {
        "created_at": 1757840130,
        "metadata": {"a": 1},
        "id": "jan",
        "object": "assistant",
    }


def test_a_minimal_message_gets_every_documented_field():
    shown = representations.message(
        {"role": "user", "content": "hi"},
        id="line-1",
        thread_id="t",
        content=[{"type": "text", "text": {"value": "hi", "annotations": []}}],
        created_at=5,
        completed_at=None,
    )
    assert shown == {
        "role": "user",
        "content": [{"type": "text", "text": {"value": "hi", "annotations": []}}],
        "id": "line-1",
        "created_at": 5,
        "object": "thread.message",
        "thread_id": "t",
        "assistant_id": None,
        "run_id": None,
        "file_ids": [],
        "metadata": {},
    }


@pytest.mark.parametrize(("attachments", "kept"), [([], False), (None, False), ([{"a": 1}], True)])
def test_only_empty_attachments_are_left_out(attachments, kept):
    shown = representations.message(
        {"attachments": attachments, "completed_at": 1757840130456},
        id="m",
        thread_id="t",
        content=[],
        created_at=1,
        completed_at=1757840130,
    )
    assert ("attachments" in shown) is kept
    assert shown["completed_at"] == 1757840130


def test_a_model_has_openais_fields_and_its_state():
    shown = representations.model(
        {"id": "x", "name": "X"},
        id="m",
        created=7,
        owned_by="me",
        state="running",
        source_url="https://h/x",
    )
    assert shown == {
        "id": "m",
        "name": "X",
        "state": "running",
        "object": "model",
        "created": 7,
        "engine": "llamacpp",
        "owned_by": "me",
        "source_url": "https://h/x",
        "settings": {},
        "parameters": {},
        "metadata": {},
    }


@pytest.mark.parametrize(
    ("headers", "query", "client"),
    [
        ({}, PageQuery(), Client.DOCUMENT),
        ({"openai-beta": "assistants=v2"}, PageQuery(), Client.OPENAI),
        ({"openai-beta": "assistants=v1"}, PageQuery(limit=3), Client.OPENAI),
        ({"openai-beta": "realtime=v1"}, PageQuery(), Client.DOCUMENT),
        ({}, PageQuery(limit=-1), Client.PAGING),
        ({}, PageQuery(order="asc"), Client.PAGING),
    ],
)
def test_who_calls_is_seen_from_header_and_query(headers, query, client):
    assert client_of(headers, query) is client


class Item(NamedTuple):
    id: str


ITEMS = [Item(str(n)) for n in range(1, 31)]


def show(item):
    return {"id": item.id}


def ids(answer):
    return [int(item["id"]) for item in (answer if isinstance(answer, list) else answer["data"])]


@pytest.mark.parametrize(
    ("kind", "client", "bare", "expected"),
    [
        ("threads", Client.DOCUMENT, True, list(range(30, 0, -1))),
        ("threads", Client.OPENAI, False, list(range(30, 10, -1))),
        ("threads", Client.PAGING, False, list(range(30, 0, -1))),
        ("messages", Client.DOCUMENT, False, list(range(1, 31))),
        ("messages", Client.OPENAI, False, list(range(30, 10, -1))),
        ("messages", Client.PAGING, False, list(range(1, 31))),
    ],
)
def test_each_client_gets_the_list_it_expects(kind, client, bare, expected):
    answer = listing(kind, ITEMS, PageQuery(), client, show=show)
    assert isinstance(answer, list) is bare
    assert ids(answer) == expected


@pytest.mark.parametrize(
    ("query", "expected", "has_more"),
    [
        (PageQuery(limit=2), [1, 2], True),
        (PageQuery(limit=-1), list(range(1, 31)), False),
        (PageQuery(limit=2, after="3"), [4, 5], True),
        (PageQuery(limit=5, after="28"), [29, 30], False),
        (PageQuery(limit=2, before="9"), [7, 8], True),
        (PageQuery(limit=9, before="4"), [1, 2, 3], False),
        (PageQuery(limit=2, after="3", before="9"), [4, 5], True),
        (PageQuery(after="30"), [], False),
        (PageQuery(limit=2, order="desc", after="9"), [8, 7], True),
    ],
)
def test_cursors_and_limits_cut_the_list(query, expected, has_more):
    answer = listing("messages", ITEMS, query, Client.PAGING, show=show)
    assert (ids(answer), answer["has_more"]) == (expected, has_more)


def test_a_list_object_names_its_ends():
    assert list_object([Item("a"), Item("b")], show=show) == {
        "object": "list",
        "data": [{"id": "a"}, {"id": "b"}],
        "first_id": "a",
        "last_id": "b",
        "has_more": False,
    }
    assert list_object([], show=show)["first_id"] is None


@pytest.mark.parametrize(
    ("query", "param"),
    [
        (PageQuery(limit=0), "limit"),
        (PageQuery(after="x"), "after"),
        (PageQuery(before="x"), "before"),
    ],
)
def test_a_wrong_part_is_refused_by_name(query, param):
    with pytest.raises(InvalidRequest) as caught:
        listing("messages", ITEMS, query, Client.PAGING, show=show)
    assert caught.value.param == param


def test_only_what_is_in_the_answer_is_shown():
    shown = []

    def show_and_note(item):
        shown.append(item.id)
        return show(item)

    listing("messages", ITEMS, PageQuery(limit=2), Client.PAGING, show=show_and_note)
    assert shown == ["1", "2"]


TEXT = [{"type": "text", "text": {"value": "hi", "annotations": []}}]
MESSAGE = {
    "id": "m",
    "object": "thread.message",
    "thread_id": "t",
    "created_at": 5,
    "role": "assistant",
    "content": TEXT,
}
SEEN_MESSAGE = {
    **MESSAGE,
    "status": "completed",
    "attachments": [],
    "completed_at": 5,
    "incomplete_at": None,
    "incomplete_details": None,
}
CUT_OFF = {**SEEN_MESSAGE, "status": "incomplete", "completed_at": None, "incomplete_at": 5}
PENDING = {**SEEN_MESSAGE, "status": "in_progress", "completed_at": None}
EMPTY = [{"type": "text", "text": {"value": "", "annotations": []}}]


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        ({}, SEEN_MESSAGE),
        ({"status": "ready"}, SEEN_MESSAGE),
        ({"status": "ready", "completed_at": 9}, {**SEEN_MESSAGE, "completed_at": 9}),
        ({"status": "completed", "completed_at": 0}, SEEN_MESSAGE),
        ({"status": "of another Jan"}, SEEN_MESSAGE),
        ({"status": "pending"}, PENDING),
        ({"status": "in_progress", "content": EMPTY}, {**PENDING, "content": []}),
        ({"status": "pending", "content": ["raw"]}, {**PENDING, "content": ["raw"]}),
        ({"status": "stopped"}, {**CUT_OFF, "incomplete_details": {"reason": "run_cancelled"}}),
        ({"status": "error"}, {**CUT_OFF, "incomplete_details": {"reason": "run_failed"}}),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_tokens"}},
            {**CUT_OFF, "incomplete_details": {"reason": "max_tokens"}},
        ),
        ({"attachments": [{"file_id": "f"}]}, {**SEEN_MESSAGE, "attachments": [{"file_id": "f"}]}),
    ],
)
def test_what_openais_clients_see_of_a_message(told, seen):
    assert representations.for_openai("message", {**MESSAGE, **told}) == seen


def test_what_openais_clients_see_of_a_thread():
    shown = {"id": "t", "object": "thread", "title": "T"}
    assert representations.for_openai("thread", shown) == {**shown, "tool_resources": {}}
    known = {**shown, "tool_resources": {"code_interpreter": {"file_ids": []}}}
    assert representations.for_openai("thread", known) == known


def test_what_openais_clients_see_of_an_assistant():
    function = {"type": "function", "function": {"name": "f"}}
    jans = {"type": "retrieval", "enabled": False, "settings": {}}
    shown = {"id": "jan", "object": "assistant", "model": "m", "tools": [jans, function]}
    assert representations.for_openai("assistant", shown) == {
        **shown,
        "tools": [function],
        "name": None,
        "description": None,
        "instructions": None,
        "tool_resources": {},
        "temperature": None,
        "top_p": None,
        "response_format": "auto",
    }
    minimal = representations.for_openai("assistant", {"id": "jan"})
    assert (minimal["model"], minimal["tools"]) == ("*", [])


def test_another_view_has_another_entity_tag():
    assert representations.view_etag(Client.DOCUMENT, '"a"') == '"a"'
    assert representations.view_etag(Client.OPENAI, '"a"') == '"a-openai"'
