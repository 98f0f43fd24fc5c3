"""`response_format`, as what the answer must match."""

from __future__ import annotations

import json

import msgspec
import pytest
from llguidance import LLMatcher
from msgspec import UNSET

from jan_server.completions.response_format import read
from jan_server.completions.schemas import closed
from jan_server.engines.base import Constraint
from jan_server.engines.constraints import JSON_LAYOUT
from jan_server.errors import InvalidRequest
from jan_server.types.tool import ResponseFormat

POINT = {"type": "object", "properties": {"y": {"type": "integer"}, "x": {"type": "integer"}}}


LENIENT = {**JSON_LAYOUT, "lenient": True}
UNIQUE = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}


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
        (
            {"type": "json_schema", "json_schema": {"name": "point", "schema": POINT}},
            {"x-guidance": LENIENT, **POINT},
        ),
        (
            {"type": "json_schema", "json_schema": {"name": "p", "schema": POINT, "strict": True}},
            {**POINT, "additionalProperties": False},
        ),
        (
            {"type": "json_schema", "json_schema": {"name": "any", "schema": {}}},
            {"x-guidance": LENIENT},
        ),
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


@pytest.mark.parametrize("strict", [True, False])
def test_what_no_grammar_holds_to_is_passed_over_unless_the_schema_is_strict(strict):
    named = {"name": "numbers", "schema": UNIQUE, "strict": strict}
    constraint = formatted({"type": "json_schema", "json_schema": named})
    assert (
        LLMatcher.validate_grammar_with_warnings(
            LLMatcher.grammar_from_json_schema(constraint.text)
        )[0]
        is strict
    )


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
