"""`response_format`, as what the answer must match."""

from __future__ import annotations

import json

import msgspec
import pytest
from msgspec import UNSET

from jan_server.completions.response_format import read
from jan_server.completions.schemas import closed
from jan_server.engines.base import Constraint
from jan_server.errors import InvalidRequest
from jan_server.types.tool import ResponseFormat

POINT = {"type": "object", "properties": {"y": {"type": "integer"}, "x": {"type": "integer"}}}


def formatted(value):
    return read(msgspec.convert(value, ResponseFormat))


def schema(constraint):
    assert constraint == Constraint(kind="json_schema", text=constraint.text)
    return json.loads(constraint.text)


@pytest.mark.parametrize("value", [None, UNSET])
def test_nothing_is_asked(value):
    assert read(value) is None


def test_text_is_any_answer():
    assert formatted({"type": "text"}) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_object", "schema": POINT}, POINT),
        ({"type": "json_schema", "json_schema": {"name": "point", "schema": POINT}}, POINT),
        (
            {"type": "json_schema", "json_schema": {"name": "p", "schema": POINT, "strict": True}},
            {**POINT, "additionalProperties": False},
        ),
        ({"type": "json_schema", "json_schema": {"name": "any", "schema": {}}}, {}),
    ],
)
def test_json_is_a_schema(value, expected):
    assert schema(formatted(value)) == expected


def test_the_order_of_properties_is_kept():
    text = formatted({"type": "json_object", "schema": POINT}).text
    assert text.index('"y"') < text.index('"x"')


def test_a_missing_schema_is_named():
    with pytest.raises(InvalidRequest) as raised:
        formatted({"type": "json_schema", "json_schema": {"name": "point"}})
    assert raised.value.param == "$.response_format.json_schema.schema"


OPEN = {"properties": {"a": True}}
CLOSED = {**OPEN, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (OPEN, CLOSED),
        ({**OPEN, "additionalProperties": True}, {**OPEN, "additionalProperties": True}),
        ({"type": "object"}, {"type": "object"}),
        ({"items": OPEN}, {"items": CLOSED}),
        ({"anyOf": [OPEN, True]}, {"anyOf": [CLOSED, True]}),
        (
            {"$defs": {"a": OPEN}, "$ref": "#/$defs/a"},
            {"$defs": {"a": CLOSED}, "$ref": "#/$defs/a"},
        ),
        (
            {"properties": {"properties": OPEN}},
            {"properties": {"properties": CLOSED}, "additionalProperties": False},
        ),
        ({"allOf": [OPEN], "properties": {}}, {"allOf": [OPEN], "properties": {}}),
        ({"enum": [{"properties": {}}]}, {"enum": [{"properties": {}}]}),
        (
            {"properties": 3, "anyOf": 3},
            {"properties": 3, "anyOf": 3, "additionalProperties": False},
        ),
    ],
)
def test_a_closed_schema_names_all_properties(schema, expected):
    before = json.dumps(schema)
    assert closed(schema) == expected
    assert json.dumps(schema) == before
