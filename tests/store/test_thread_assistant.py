from __future__ import annotations

import pytest

from jan_server.store import thread_assistant

LACKING = {"object": "assistant", "created_at": 0, "instructions": "", "tools": [], "metadata": {}}
MODEL = {"id": "tiny", "settings": {}, "parameters": {}}


@pytest.mark.parametrize(
    ("thread", "expected"),
    [
        ({}, {"id": "jan", "name": "Jan", "model": {**MODEL, "id": "default"}}),
        ({"assistants": "?"}, {"id": "jan", "name": "Jan", "model": {**MODEL, "id": "default"}}),
        (
            {"assistants": ["me"]},
            {
                "assistant_id": "me",
                "id": "me",
                "name": "me",
                "model": {**MODEL, "id": "default"},
            },
        ),
        (
            {"assistants": [{"assistant_id": "jan", "assistant_name": "Jan", "model": MODEL}]},
            {
                "assistant_id": "jan",
                "assistant_name": "Jan",
                "id": "jan",
                "name": "Jan",
                "model": MODEL,
            },
        ),
        (
            {"assistants": [{"id": "a", "name": "A", "model": {"id": "*"}, "x": 1}]},
            {"id": "a", "name": "A", "x": 1, "model": {**MODEL, "id": "default"}},
        ),
        (
            {"assistants": [{"id": "a", "model": "tiny"}]},
            {"id": "a", "name": "a", "model": MODEL},
        ),
        (
            {"assistants": [{"id": "a"}], "model": {"id": "tiny", "provider": "llamacpp"}},
            {"id": "a", "name": "a", "model": MODEL},
        ),
    ],
    ids=["none", "no list", "a name", "Jan 0.4", "any model", "a model's name", "today's Jan"],
)
def test_the_first_assistant_is_shown_with_what_it_lacks(thread, expected):
    shown = thread_assistant.shown(thread, default_model="default")
    assert shown == {**LACKING, **expected}


SENT = {"id": "b", "name": "B", "instructions": "Be brief.", "object": "x", "created_at": 5}


@pytest.mark.parametrize(
    ("assistants", "expected"),
    [
        (None, [{"id": "b", "name": "B", "instructions": "Be brief."}]),
        (
            [{"assistant_id": "a", "x": [1]}, "other"],
            [
                {
                    "assistant_id": "b",
                    "x": [1],
                    "assistant_name": "B",
                    "instructions": "Be brief.",
                },
                "other",
            ],
        ),
        (
            [{"id": "a", "name": "A", "tools": []}],
            [{"id": "b", "name": "B", "tools": [], "instructions": "Be brief."}],
        ),
    ],
    ids=["none", "Jan 0.4", "today's Jan"],
)
def test_what_is_sent_goes_under_the_keys_that_the_file_has(assistants, expected):
    assert thread_assistant.changed({"assistants": assistants}, SENT) == expected
