"""Changing a part of a JSON file leaves every other byte as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jan_server.store import scanner
from jan_server.store.document import edited, members, written, written_line

EDITS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a value": ('{"a": 1, "b": 2}', {"b": 3}, '{"a": 1, "b": 3}'),
    "null": ('{"a": 1}', {"a": None}, '{"a": null}'),
    "true is not 1": ('{"a": 1}', {"a": True}, '{"a": true}'),
    "compact": ('{"a":1}', {"a": [1, {"x": 2}]}, '{"a":[1,{"x":2}]}'),
    "a new key, compact": ('{"a":1,"b":2}', {"c": 3}, '{"a":1,"b":2,"c":3}'),
    "a new key, one line": ('{"a": 1}', {"c": {"d": 1, "e": 2}}, '{"a": 1, "c": {"d": 1, "e": 2}}'),
    "a new key, spaces inside": ('{ "a": 1 }', {"c": 3}, '{ "a": 1, "c": 3 }'),
    "a new key, own indent": ('{\n    "a": 1\n}', {"c": 3}, '{\n    "a": 1,\n    "c": 3\n}'),
    "tabs": ('{\n\t"a" : 1\n}\n', {"a": {"x": 1}}, '{\n\t"a" : {\n\t\t"x": 1\n\t}\n}\n'),
    "CRLF": ('{\r\n  "a": 1\r\n}\r\n', {"a": [1]}, '{\r\n  "a": [\r\n    1\r\n  ]\r\n}\r\n'),
    "byte order mark": ('\ufeff{"a": 1}', {"a": 2}, '\ufeff{"a": 2}'),
    "number spelling": ('{"n": 1.50e+2, "b": 1}', {"b": 2}, '{"n": 1.50e+2, "b": 2}'),
    "escapes": ('{"n": "\\u00e9\\/", "b": 1}', {"b": "é"}, '{"n": "\\u00e9\\/", "b": "é"}'),
    "an escaped key": ('{"\\u0061": 1}', {"a": 2}, '{"\\u0061": 2}'),
    "the last of equal keys": ('{"a": 1, "a": 2}', {"a": 3}, '{"a": 1, "a": 3}'),
    "nested": (
        '{"m": {"x": 1.0,  "y" :2}}',
        {"m": {"x": 1.0, "y": 3}},
        '{"m": {"x": 1.0,  "y" :3}}',
    ),
    "nested, a new key": (
        '{\n  "m": {\n    "x": 1\n  }\n}',
        {"m": {"x": 1, "y": {"z": 2}}},
        '{\n  "m": {\n    "x": 1,\n    "y": {\n      "z": 2\n    }\n  }\n}',
    ),
    "nested, a key less": ('{"m": {"x": 1, "y": 2}}', {"m": {"y": 2}}, '{"m": {"y": 2}}'),
    "an empty object": ("{}", {"a": 1}, '{\n  "a": 1\n}'),
    "an empty object in a file": ("\n{ }\n", {"a": 1}, '\n{\n  "a": 1\n}\n'),
    "an empty file": ("", {"a": 1}, '{\n  "a": 1\n}'),
    "an inner lone surrogate": ('{"n": "\\ud83d", "b": 1}', {"b": 2}, '{"n": "\\ud83d", "b": 2}'),
    "a lone surrogate given": ('{"a": 1}', {"a": "\ud83d"}, '{"a": "\\ud83d"}'),
    "several": ('{"a":1,"b":2}', {"b": 3, "a": "x", "c": 4}, '{"a":"x","b":3,"c":4}'),
}
UNCHANGED: dict[str, tuple[str, dict[str, Any]]] = {
    "nothing given": ('{"a": 1}', {}),
    "the same": ('{"a": [1, {"b": null}]}', {"a": [1, {"b": None}]}),
    "another spelling": ('{"a": 1.50e+2, "b": "\\u00e9"}', {"a": 150, "b": "é"}),
    "a lone surrogate as it is served": ('{"a": {"b": "x"}, "c": true}', {"c": True}),
    "nothing into nothing": ("", {}),
}


@pytest.mark.parametrize("name", EDITS)
def test_only_the_changed_values_differ(name: str) -> None:
    before, changes, after = EDITS[name]
    assert edited(before.encode(), changes).decode() == after


@pytest.mark.parametrize("name", UNCHANGED)
def test_a_change_that_alters_no_value_gives_the_same_bytes(name: str) -> None:
    before, changes = UNCHANGED[name]
    raw = before.encode()
    assert edited(raw, changes) is raw


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, values, max_size=5)
layouts = st.sampled_from(
    [
        {"indent": 2},
        {"indent": "\t", "ensure_ascii": False},
        {"separators": (",", ":")},
        {"indent": 4, "separators": (" ,", " : ")},
        {"ensure_ascii": False},
        {"indent": 0},
    ]
)


@settings(max_examples=300, deadline=None)
@given(before=objects, changes=objects, layout=layouts, crlf=st.booleans(), bom=st.booleans())
def test_any_change_of_any_object_keeps_the_other_members_bytes(
    before: dict[str, Any], changes: dict[str, Any], layout: dict[str, Any], crlf: bool, bom: bool
) -> None:
    text = json.dumps(before, **layout)
    text = ("\ufeff" if bom else "") + (text.replace("\n", "\r\n") if crlf else text)
    found = edited(text.encode(), changes)
    assert scanner.same(scanner.decode(found), {**before, **changes})
    assert _spelling(text, without=changes) == _spelling(found.decode(), without=changes)
    again = edited(found, changes)
    assert again == found


def _spelling(text: str, *, without: dict[str, Any]) -> list[str]:
    """The members as they are spelled, but for those that change."""
    start = text.index("{")
    return [text[m.key_start : m.end] for m in members(text, start) if m.key not in without]


def test_new_files_look_as_jan_writes_them() -> None:
    assert written({"a": {"b": "é"}}) == '{\n  "a": {\n    "b": "é"\n  }\n}'.encode()
    assert written_line({"a": [1, "é\n"]}) == '{"a":[1,"é\\n"]}\n'.encode()
