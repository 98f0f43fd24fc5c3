"""Before and after pairs: what each Jan wrote, and what we write for it."""

from __future__ import annotations

from typing import Any

import pytest

from jan_server.store import formats
from jan_server.store.formats import ThreadAssistant

NOW = 1_800_000_000.5678


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1705312345678, 1705312345.678),
        (1705312345, 1705312345.0),
        (1757840123.412, 1757840123.412),
        (1757840123412345, 1757840123.412345),
        ("2024-01-15T09:52:25.678Z", 1705312345.678),
        ("2024-01-15T09:52:25", 1705312345.0),
        ("2024-01-15T11:52:25+02:00", 1705312345.0),
        ("yesterday", None),
        (0, None),
        (-5, None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_a_time_in_any_unit(value: Any, seconds: float | None) -> None:
    assert formats.seconds(value) == seconds


A = {"id": "jan_1705312345", "created": 1705312345678, "updated": 1705312399001}
B = {"created_at": 1735689600, "metadata": {"title": "x", "updated_at": 1735689700123}}
C = {"created": 1757840123.412, "updated": 1757840125.5}


@pytest.mark.parametrize(
    ("value", "id", "first", "expected"),
    [
        (A, "x", None, (1705312345, 1705312399.001)),
        (B, "x", None, (1735689600, 1735689700.123)),
        (C, "x", None, (1757840123, 1757840125.5)),
        ({}, "jan_1705312345", 1.0, (1705312345, 1705312345.0)),
        ({}, "01HM5ZK3Q2V8W7T6R5N4M3K2J1", 1.0, (1705302920, 1705302920.93)),
        ({}, "notes", 1700000000, (1700000000, 1700000000)),
        ({}, "notes", None, (1650000000, 1650000000.5)),
        (
            {"created": "soon", "metadata": 3, "updated": 0},
            "notes",
            None,
            (1650000000, 1650000000.5),
        ),
        ({"updated_at": "2024-01-15T09:52:25Z"}, "notes", 1, (1, 1705312345.0)),
    ],
)
def test_when_a_thread_was_made_and_changed(
    value: dict[str, Any], id: str, first: float | None, expected: tuple[int, float]
) -> None:
    found = formats.thread_times(value, id=id, first_message_time=lambda: first, mtime=1650000000.5)
    assert found == expected


@pytest.mark.parametrize(
    ("value", "changes"),
    [
        (A, {"updated": 1800000000567}),
        (B, {"metadata": {"title": "x", "updated_at": 1800000000567}}),
        (C, {"updated": 1800000000.568}),
        ({}, {"updated": 1800000000567}),
        ({"updated": 1705312345}, {"updated": 1800000000}),
        ({"updated": 1705312345678.0}, {"updated": 1800000000567.0}),
        ({"updated": "2024-01-15T09:52:25Z"}, {"updated": "2027-01-15T08:00:00.568Z"}),
        ({"updated": "soon"}, {"updated": 1800000000567}),
        ({"updated": None}, {"updated": 1800000000567}),
        ({"created": 1757840123.412}, {"updated": 1800000000.568}),
        ({"created_at": 1735689600}, {"metadata": {"updated_at": 1800000000567}}),
    ],
)
def test_the_last_update_moves_under_its_own_key_in_its_own_unit(
    value: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert formats.touched(value, NOW) == changes


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ({"created": 1705312350123}, 1705312350),
        ({"created_at": 1757840130456, "completed_at": 0}, 1757840130),
        ({"created_at": 0, "completed_at": 1735689600}, 1735689600),
        ({"created_at": 1735689600.75}, 1735689600),
        ({}, None),
    ],
)
def test_when_a_message_was_made(value: dict[str, Any], seconds: int | None) -> None:
    assert formats.message_seconds(value) == seconds


TEXT = {"type": "text", "text": {"value": "hi", "annotations": []}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}


@pytest.mark.parametrize(
    ("content", "parts", "text"),
    [
        ("hi", [TEXT], "hi"),
        ("", [{"type": "text", "text": {"value": "", "annotations": []}}], ""),
        ([{"type": "text", "text": "hi"}], [TEXT], "hi"),
        ([{"type": "text", "text": {"value": "hi"}}], [TEXT], "hi"),
        ([TEXT, IMAGE, "hi"], [TEXT, IMAGE, TEXT], "hi\nhi"),
        ({"type": "text", "text": "hi"}, [TEXT], "hi"),
        ([{"type": "text", "text": {"value": 3, "annotations": []}}, 7, IMAGE], None, ""),
        (None, [], ""),
        (7, [], ""),
    ],
)
def test_content_in_any_shape(content: Any, parts: list[Any] | None, text: str) -> None:
    assert formats.message_content(content) == (content if parts is None else parts)
    assert formats.message_text({"content": content}) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {
                "assistants": [
                    {
                        "assistant_id": "jan",
                        "assistant_name": "Jan",
                        "instructions": "Be brief.",
                        "model": {
                            "id": "tiny",
                            "settings": {"ctx_len": 8},
                            "parameters": {"top_p": 1},
                            "engine": "nitro",
                        },
                    }
                ]
            },
            [
                ThreadAssistant(
                    id="jan",
                    name="Jan",
                    instructions="Be brief.",
                    model="tiny",
                    engine="nitro",
                    settings={"ctx_len": 8},
                    parameters={"top_p": 1},
                )
            ],
        ),
        (
            {
                "assistants": [{"id": "jan", "name": "Jan", "parameters": {"top_k": 2}}],
                "model": {"id": "m", "provider": "llamacpp"},
            },
            [
                ThreadAssistant(
                    id="jan", name="Jan", model="m", engine="llamacpp", parameters={"top_k": 2}
                )
            ],
        ),
        ({"assistants": ["jan"]}, [ThreadAssistant(id="jan")]),
        (
            {"assistants": [{"id": "jan", "model": "tiny"}]},
            [ThreadAssistant(id="jan", model="tiny")],
        ),
        (
            {"assistants": [{"id": "jan", "model": {"id": "*"}}], "model": 3},
            [ThreadAssistant(id="jan")],
        ),
        ({"assistants": [7, None, {"id": 3}]}, [ThreadAssistant(id="")]),
        ({"assistants": "jan"}, []),
        ({}, []),
    ],
)
def test_a_threads_assistants_in_any_shape(
    value: dict[str, Any], expected: list[ThreadAssistant]
) -> None:
    assert formats.thread_assistants(value) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "A"),
        (["threads", "models", "settings"], "A"),
        (["threads", "llamacpp"], "C"),
        (["store.json"], "C"),
        (["assistants/.migration_version"], "C"),
    ],
)
def test_whose_folder_it_is(names: list[str], expected: str) -> None:
    assert formats.generation(names) == expected


ASSISTANT = {
    "assistant_id": "jan",
    "assistant_name": "Jan",
    "model": {"id": "tiny", "engine": "nitro"},
}


def test_a_new_thread_as_jan_04_writes_it() -> None:
    found = formats.new_thread(
        "A", id="jan_1", now=NOW, title="T", assistants=[ASSISTANT], extra={"tool_resources": {}}
    )
    assert list(found.items()) == [
        ("id", "jan_1"),
        ("object", "thread"),
        ("title", "T"),
        ("assistants", [ASSISTANT]),
        ("created", 1800000000567),
        ("updated", 1800000000567),
        ("metadata", {}),
        ("tool_resources", {}),
    ]


def test_a_new_thread_as_todays_jan_writes_it() -> None:
    found = formats.new_thread(
        "C", id="u", now=NOW, title="T", assistants=[ASSISTANT], metadata={"b": 1, "a": 2}
    )
    assert list(found.items()) == [
        (
            "assistants",
            [
                {
                    "id": "jan",
                    "instructions": "",
                    "model": {"engine": "nitro", "id": "tiny"},
                    "name": "Jan",
                }
            ],
        ),
        ("created", 1800000000.568),
        ("id", "u"),
        ("metadata", {"a": 2, "b": 1}),
        ("model", {"id": "tiny", "provider": "nitro"}),
        ("object", "thread"),
        ("title", "T"),
        ("updated", 1800000000.568),
    ]
    assert list(found["metadata"]) == ["a", "b"]
    assert list(found["assistants"][0]) == ["id", "instructions", "model", "name"]


def test_a_new_thread_of_todays_jan_may_have_no_assistant() -> None:
    found = formats.new_thread("C", id="u", now=NOW, title="T", assistants=[])
    assert (found["assistants"], "model" in found) == ([], False)


@pytest.mark.parametrize("model", [{}, {"id": "*"}, {"id": ""}, "*", None])
def test_where_no_model_is_chosen_todays_jan_finds_its_engine_all_the_same(model: Any) -> None:
    sent = {"assistant_id": "jan", "model": model}
    found = formats.new_thread("C", id="u", now=NOW, title="T", assistants=[sent])
    assert found["assistants"] == [
        {"id": "jan", "instructions": "", "model": {"engine": "llamacpp"}, "name": "jan"}
    ]
    assert "model" not in found


def test_a_new_message_as_jan_04_writes_it() -> None:
    given: dict[str, Any] = {
        "role": "user",
        "content": "hi",
        "metadata": {"a": 1},
        "attachments": [],
        "assistant_id": None,
        "created_at": 5,
        "nonsense": 1,
    }
    found = formats.new_message("A", id="m", thread_id="t", now=NOW, given=given)
    assert list(found.items()) == [
        ("id", "m"),
        ("thread_id", "t"),
        ("status", "ready"),
        ("created", 1800000000567),
        ("updated", 1800000000567),
        ("object", "thread.message"),
        ("role", "user"),
        ("content", [TEXT]),
        ("metadata", {"a": 1}),
        ("attachments", []),
    ]


@pytest.mark.parametrize(("role", "completed"), [("user", 0), ("assistant", 1800000000567)])
def test_a_new_message_as_todays_jan_writes_it(role: str, completed: int) -> None:
    given = {"role": role, "content": "hi", "status": "stopped", "type": "Thread"}
    found = formats.new_message("C", id="m", thread_id="t", now=NOW, given=given)
    assert list(found.items()) == [
        ("completed_at", completed),
        ("content", [TEXT]),
        ("created_at", 1800000000567),
        ("id", "m"),
        ("object", "thread.message"),
        ("role", role),
        ("status", "stopped"),
        ("thread_id", "t"),
        ("type", "Thread"),
    ]
    assert list(found["content"][0]) == ["text", "type"]


@pytest.mark.parametrize(
    ("document", "keys"),
    [
        ({"a": 1, "b": 2}, ["x", "y"]),
        ({"b": 1, "a": 2}, ["y", "x"]),
        ({"a": 1}, ["y", "x"]),
        ({}, ["y", "x"]),
    ],
    ids=["sorted", "as they came", "one key says nothing", "empty"],
)
def test_changes_are_spelled_as_the_document_is(document: dict[str, Any], keys: list[str]) -> None:
    found = formats.spelled_as(document, {"z": [{"y": 1, "x": 2}]})
    assert list(found["z"][0]) == keys
