"""Which fields say what an answer must match."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jan_server.completions.constraining import Asked, check_engine, read_constraint
from jan_server.engines.base import Constraint
from jan_server.errors import InvalidRequest, ParameterNotSupported
from jan_server.types.completion import CompletionRequest
from jan_server.web.requests import decode_json

SCHEMA = {"type": "integer"}
LARK = 'start: "yes" | "no"'


def read(**sent: Any) -> Asked | None:
    body = json.dumps({"prompt": "x", **sent}).encode()
    return read_constraint(*decode_json(body, CompletionRequest))


@pytest.mark.parametrize(
    ("field", "value", "kind", "text"),
    [
        ("json_schema", SCHEMA, "json_schema", '{"type":"integer"}'),
        ("json_schema", True, "json_schema", "true"),
        ("guided_json", SCHEMA, "json_schema", '{"type":"integer"}'),
        ("guided_json", '{"type": "integer"}', "json_schema", '{"type":"integer"}'),
        ("regex", "[0-9]+", "regex", "[0-9]+"),
        ("guided_regex", "a|b", "regex", "a|b"),
        ("grammar", LARK, "lark", LARK),
        ("grammar", 'start: "root ::= x"', "lark", 'start: "root ::= x"'),
        ("guided_grammar", LARK, "lark", LARK),
    ],
)
def test_a_field_makes_a_constraint(field: str, value: Any, kind: Any, text: str) -> None:
    assert read(**{field: value}) == Asked(field, Constraint(kind=kind, text=text))


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"json_schema": None, "grammar": None},
        {"grammar": "", "regex": ""},
        {"response_format": {"type": "text"}},
    ],
)
def test_nothing_said_is_no_constraint(sent: dict[str, Any]) -> None:
    assert read(**sent) is None


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"guided_json": 5}, "$.guided_json"),
        ({"guided_json": "{"}, "$.guided_json"),
        ({"guided_regex": 5}, "$.guided_regex"),
        ({"guided_grammar": ["x"]}, "$.guided_grammar"),
        ({"json_schema": SCHEMA, "regex": "x"}, "$.regex"),
        ({"response_format": {"type": "json_object"}, "json_schema": SCHEMA}, "$.json_schema"),
    ],
)
def test_what_is_wrong_or_said_twice_is_refused_with_its_place(
    sent: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(**sent)
    assert caught.value.param == param


@pytest.mark.parametrize("text", ['root ::= "yes"', '# c\n  root-1 ::= x\nx ::= "y"'])
def test_the_language_of_llama_cpp_is_told_apart(text: str) -> None:
    with pytest.raises(ParameterNotSupported) as caught:
        read(grammar=text)
    assert caught.value.param == "$.grammar"
    assert "Lark" in caught.value.message


def test_an_engine_that_cannot_constrain_refuses_the_field() -> None:
    asked = read(regex="x")
    check_engine(asked, constrains=True)
    check_engine(None, constrains=False)
    with pytest.raises(ParameterNotSupported) as caught:
        check_engine(asked, constrains=False)
    assert caught.value.param == "$.regex"
