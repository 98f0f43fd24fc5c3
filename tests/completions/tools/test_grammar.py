"""What answers are held to, tried with llguidance itself on tokens of one byte."""

from __future__ import annotations

import re

import pytest
from llguidance import LLMatcher, LLTokenizer

from jan_server.completions.tools import grammar
from jan_server.completions.tools.formats import FORMATS, GRANITE, HERMES, LLAMA, MISTRAL_LIST
from jan_server.completions.tools.words import write
from jan_server.engines.base import Constraint
from jan_server.engines.constraints import Constraints
from jan_server.types.tool import FunctionDefinition
from tests.completions.tools.transcripts import NOW, PARIS, ROME, TOOLS, WELL_FORMED, hermes, listed

BYTES = LLTokenizer("byte")
DONE = "done"  # It matches, and nothing can follow.
MATCHES = "matches"
UNFINISHED = "unfinished"
FORBIDDEN = "forbidden"


def held(constraint, text):
    """What becomes of an answer that is held to the constraint."""
    assert constraint.kind == "lark"
    matcher = LLMatcher(BYTES, constraint.text, log_level=0)
    if matcher.is_error():
        return "uniqueItems" if "uniqueItems" in matcher.get_error() else matcher.get_error()
    tokens = BYTES.tokenize_str(text)
    if matcher.try_consume_tokens(tokens) != len(tokens):
        return FORBIDDEN
    if matcher.is_stopped():
        return DONE
    return MATCHES if matcher.is_accepting() else UNFINISHED


@pytest.mark.parametrize("row", WELL_FORMED, ids=lambda row: f"{row.form.name}: {row.text}")
def test_what_models_of_a_form_write_is_what_a_forced_answer_can_be(row):
    constraint = grammar.forced(row.form, TOOLS, one=False)
    assert constraint.after == ()
    assert held(constraint, row.text) in (DONE, MATCHES)
    assert held(constraint, row.text[:-1]) in (UNFINISHED, MATCHES)


@pytest.mark.parametrize("row", WELL_FORMED, ids=lambda row: f"{row.form.name}: {row.text}")
def test_a_single_call_is_the_whole_answer(row):
    constraint = grammar.forced(row.form, TOOLS, one=True)
    assert held(constraint, row.text) == (DONE if len(row.calls) == 1 else FORBIDDEN)


@pytest.mark.parametrize("row", WELL_FORMED, ids=lambda row: f"{row.form.name}: {row.text}")
def test_behind_its_trigger_an_offered_call_is_held_to_its_form(row):
    constraint = grammar.offered(row.form, TOOLS, one=False)
    if not row.form.trigger:
        assert (constraint.after, held(constraint, row.text)) == ((), DONE)
        return
    assert constraint.after == (row.form.trigger,)
    first = row.text.split(row.form.trigger)[1]
    assert held(constraint, first.rstrip("\n")) == DONE
    assert held(constraint, "x") == FORBIDDEN


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", UNFINISHED),
        ("Hello", FORBIDDEN),
        (f"\n{hermes(*NOW)}", MATCHES),
        (f"{hermes(*NOW)}\n{hermes(*ROME)}", MATCHES),
        (f"{hermes(*NOW)}\n{hermes(*ROME)}.", FORBIDDEN),
        (hermes("get_lost", "{}"), FORBIDDEN),
        (hermes("get_time", '{"city": "Paris"}'), FORBIDDEN),
        (hermes("get_weather", "{}"), FORBIDDEN),
        (hermes("get_weather", '{"city": 1}'), FORBIDDEN),
        (hermes("get_weather", '{"city": "Paris", "more": 1}'), FORBIDDEN),
        (hermes("get_weather", '{"city":"Paris","days":1}'), MATCHES),
        (hermes("get_weather", '{"city":  "Paris"}'), FORBIDDEN),
    ],
)
def test_forced_calls_are_of_the_tools_and_of_their_schemas(text, result):
    assert held(grammar.forced(HERMES, TOOLS, one=False), text) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", MATCHES),
        ("Hello {", MATCHES),
        ("\nHello\n", MATCHES),
        ('{"name": "get_time", "parameters": {}}', DONE),
        ('\n{"name": "get_time", "parameters": {}}', DONE),
        ('{"name": "Ada"}', FORBIDDEN),
        ("{", UNFINISHED),
    ],
)
def test_where_calls_have_no_mark_what_begins_as_one_is_one(text, result):
    assert held(grammar.offered(LLAMA, TOOLS, one=False), text) == result


@pytest.mark.parametrize("one", [True, False])
def test_an_answer_ends_with_the_one_call_that_is_allowed(one):
    assert grammar.offered(HERMES, TOOLS, one=one).ends is one
    many = grammar.offered(GRANITE, TOOLS, one=one)
    assert held(many, listed(NOW, PARIS)) == (FORBIDDEN if one else DONE)


@pytest.mark.parametrize(("strict", "result"), [(False, MATCHES), (True, "uniqueItems")])
def test_what_no_grammar_holds_to_is_passed_over_unless_the_tool_is_strict(strict, result):
    numbers = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    schema = {"properties": {"numbers": numbers, "more": True}}
    tool = FunctionDefinition(name="add", parameters=schema, strict=strict)
    constraint = grammar.forced(HERMES, [tool], one=False)
    assert held(constraint, hermes("add", '{"numbers": [1, 1], "other": 2}')) == result


AGE = Constraint(
    kind="json_schema",
    text='{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}',
)


@pytest.mark.parametrize("form", [HERMES, MISTRAL_LIST, GRANITE], ids=lambda form: form.name)
def test_an_answer_can_be_calls_or_match_a_schema(form):
    constraint = grammar.either(form, TOOLS, AGE, one=True)
    call = write(form, [{"name": "get_time", "arguments": {}}])
    assert held(constraint, call) == DONE
    assert held(constraint, '{"name": "Ada"}') == DONE
    assert held(constraint, '{"name": 1}') == FORBIDDEN
    assert held(constraint, "Hello") == FORBIDDEN


def test_a_schema_counts_behind_the_reasoning():
    constraint = grammar.after_thinking(AGE, "</think>")
    assert (constraint.after, constraint.ends) == (("</think>",), True)
    assert held(constraint, '\n\n{"name": "Ada"}') == DONE
    assert held(constraint, "\n\nHello") == FORBIDDEN


def test_a_schema_that_is_no_object_is_left_to_the_engine():
    constraint = grammar.after_thinking(Constraint(kind="json_schema", text="true"), "</think>")
    assert constraint.text.endswith("answer: %json true\n")


def test_a_regular_expression_counts_behind_the_reasoning():
    constraint = Constraint(kind="regex", text="yes|no")
    assert grammar.after_thinking(constraint, "</think>") == Constraint(
        kind="regex", text="yes|no", after=("</think>",), ends=True
    )


def test_what_may_be_a_control_token_stands_alone():
    text = grammar.forced(HERMES, TOOLS[:1], one=True).text
    assert r'call_0: "<tool_call>" "\n{\"name\": \"" "get_weather" ' in text
    assert r'"}\n" "</tool_call>"' in text


CONTROLS = ["<end>", *dict.fromkeys(control for form in FORMATS for control in form.controls)]


def encode(text):
    """Letters as their bytes, control tokens as the ids behind those."""
    control = "|".join(map(re.escape, CONTROLS))
    parts = re.split(f"({control})", text)
    return [
        id
        for part in parts
        for id in ([256 + CONTROLS.index(part)] if part in CONTROLS else part.encode())
    ]


WITH_CONTROLS = Constraints(
    tokens=[bytes([letter]) for letter in range(256)] + [text.encode() for text in CONTROLS],
    special=range(256, 256 + len(CONTROLS)),
    ends=encode("<end>"),
    encode=encode,
)


@pytest.mark.parametrize("grammar", [grammar.forced, grammar.offered])
@pytest.mark.parametrize("row", WELL_FORMED, ids=lambda row: f"{row.form.name}: {row.text}")
def test_calls_are_written_in_control_tokens_where_the_vocabulary_has_them(grammar, row):
    guide = WITH_CONTROLS.begin(grammar(row.form, TOOLS, one=False), visible=row.form.controls)
    for token in encode(row.text):
        assert allowed(guide, token)
        guide.accept(token)
    assert guide.complete or allowed(guide, *encode("<end>"))


def allowed(guide, token):
    mask = guide.mask()
    return mask is None or bool(mask[token // 32] >> token % 32 & 1)
