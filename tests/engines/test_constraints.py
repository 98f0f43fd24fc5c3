"""What may come next: on both kinds of vocabulary, and on one made by hand where tokens matter."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jan_server.engines import constraints
from jan_server.engines.base import Constraint
from jan_server.engines.constraints import JSON_LAYOUT, Constraints, Guide
from jan_server.engines.ctransformers import builds, library
from jan_server.engines.ctransformers.library import NativeModel
from jan_server.engines.decoding.tokenizer import make_encoder
from jan_server.engines.decoding.vocabulary import read_vocabulary
from jan_server.errors import ConstraintFailed, InvalidRequest
from jan_server.gguf import read_header
from tests.tiny_gguf import write_tiny_gguf


class Tried:
    """A vocabulary, its constraints, and what tests ask of a guide."""

    def __init__(
        self,
        tokens: list[bytes],
        *,
        special: set[int],
        ends: set[int],
        encode: Callable[[str], list[int]],
    ) -> None:
        self.tokens = tokens
        self.special = special
        self.ends = ends
        self.encode = encode
        self.constraints = Constraints(tokens=tokens, special=special, ends=ends, encode=encode)

    def begin(
        self,
        kind: Any,
        text: str,
        *,
        after: tuple[str, ...] = (),
        ends: bool = False,
        visible: tuple[str, ...] = (),
    ) -> Guide:
        constraint = Constraint(kind=kind, text=text, after=after, ends=ends)
        return self.constraints.begin(constraint, visible=visible)

    def allowed(self, guide: Guide) -> set[int]:
        mask = guide.mask()
        if mask is None:
            return set(range(len(self.tokens)))
        return {id for id in range(len(self.tokens)) if mask[id // 32] >> (id % 32) & 1}

    def spelled(self, ids: set[int]) -> set[bytes]:
        return {self.tokens[id] for id in ids}

    def follow(self, guide: Guide, text: str) -> str:
        """Accept the text, each time by the longest token that is allowed; what is not allowed."""
        data = text.encode()
        while data:
            fitting = [
                id
                for id in self.allowed(guide) - self.special - self.ends
                if self.tokens[id] and data.startswith(self.tokens[id])
            ]
            if not fitting:
                break
            token = max(fitting, key=lambda id: len(self.tokens[id]))
            guide.accept(token)
            data = data[len(self.tokens[token]) :]
        return data.decode(errors="replace")

    def may_end(self, guide: Guide) -> bool:
        return guide.complete or bool(self.allowed(guide) & self.ends)

    def matches(self, guide: Guide, text: str) -> bool:
        return self.follow(guide, text) == "" and self.may_end(guide)


def encode_greedily(tokens: list[bytes]) -> Callable[[str], list[int]]:
    def encode(text: str) -> list[int]:
        data, ids = text.encode(), []
        while data:
            ids.append(
                max(
                    (id for id, each in enumerate(tokens) if each and data.startswith(each)),
                    key=lambda id: len(tokens[id]),
                )
            )
            data = data[len(tokens[ids[-1]]) :]
        return ids

    return encode


def by_hand(*more: bytes, special: tuple[bytes, ...] = (b"<end>",)) -> Tried:
    """All single bytes, these tokens, and control tokens, of which the first one ends."""
    tokens = [*(bytes([byte]) for byte in range(256)), *more, *special]
    first = len(tokens) - len(special)
    return Tried(
        tokens,
        special=set(range(first, len(tokens))),
        ends={first} if special else set(),
        encode=encode_greedily(tokens),
    )


@pytest.fixture(scope="module", params=["bpe", "spm"])
def tried(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tried]:
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    write_tiny_gguf(path, vocabulary=request.param)
    vocabulary = read_vocabulary(read_header(path))
    native = None
    if request.param == "spm":
        loaded = library.open_library(builds.find_build(0))
        write_tiny_gguf(path, vocabulary="spm", tied=False)
        native = NativeModel(loaded, path, context_length=64, gpu_layers=0)
    encoder = make_encoder(vocabulary, native.tokenize if native else lambda _: [])
    count = len(vocabulary.tokens)
    yield Tried(
        [vocabulary.spelled(id) for id in range(count)],
        special={id for id in range(count) if not vocabulary.piece(id)},
        ends=set(vocabulary.ends),
        encode=encoder.encode,
    )
    if native:
        native.close()


ANY_OBJECT = '{"type": "object"}'
PERSON = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "likes": {"type": "array", "items": {"enum": ["tea", "coffee"]}},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    }
)


def call_of(name: str, arguments: dict[str, Any]) -> str:
    """A tool's call as a block of a Lark grammar."""
    properties = {"name": {"const": name}, "arguments": {"type": "object", **arguments}}
    schema = {
        "x-guidance": JSON_LAYOUT,
        "type": "object",
        "properties": properties,
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
    return f"%json {json.dumps(schema)}"


WEATHER = {"properties": {"city": {"type": "string"}}, "required": ["city"]}
SQUARE = {"properties": {"of": {"type": "number"}}, "required": ["of"]}
ONE_CALL = rf"""
start: "<tool_call>\n" call "\n</tool_call>"
call: weather | square
weather: {call_of("weather", WEATHER)}
square: {call_of("square", SQUARE)}
"""
SOME_CALLS = rf"""
start: "[" call (", " call)* "]"
call: weather | square
weather: {call_of("weather", WEATHER)}
square: {call_of("square", SQUARE)}
"""
NAME_OUTSIDE = r"""
start: "call " (weather | square) " end"
weather: "weather " %json {"type": "object", "properties": {"city": {"type": "string"}}}
square: "square " %json {"type": "integer"}
"""

MATCHING = [
    ("json_schema", ANY_OBJECT, "{}"),
    ("json_schema", ANY_OBJECT, '{"a": [1, {"b": null}], "é": "日本 😀"}'),
    ("json_schema", ANY_OBJECT, '{"a":[1,{"b":null}]}'),
    ("json_schema", ANY_OBJECT, '{\n  "a": [\n    1,\n    2\n  ]\n}'),
    ("json_schema", PERSON, '{"name": "Ada \\"of\\" \\n", "age": 36, "likes": ["tea"]}'),
    ("json_schema", PERSON, '{"name": "Ada", "age": -1}'),
    ("json_schema", '{"x-guidance": {"whitespace_pattern": "_+"}, "type": "array"}', "[__1,_2]"),
    ("regex", "[a-z]+@(home|work)", "ada@home"),
    ("regex", "[😀-😂]é+", "😁éé"),
    ("regex", "", ""),
    ("lark", 'start: "(" start ")" | /[0-9]+/', "((42))"),
    ("lark", ONE_CALL, '<tool_call>\n{"name": "square", "arguments": {"of": 3}}\n</tool_call>'),
    ("lark", ONE_CALL, '<tool_call>\n{"name":"weather","arguments":{"city":"Ü"}}\n</tool_call>'),
    (
        "lark",
        SOME_CALLS,
        '[{"name": "weather", "arguments": {"city": "Paris"}}, '
        '{"name": "square", "arguments": {"of": 1.5}}]',
    ),
    ("lark", NAME_OUTSIDE, 'call weather {"city":"Paris"} end'),
    ("lark", NAME_OUTSIDE, "call square 3 end"),
]


@pytest.mark.parametrize(("kind", "text", "answer"), MATCHING)
def test_what_matches_may_come_and_may_end(tried: Tried, kind: str, text: str, answer: str) -> None:
    assert tried.matches(tried.begin(kind, text), answer)


NOT_MATCHING = [
    ("json_schema", ANY_OBJECT, "[1]", "[1]"),
    ("json_schema", ANY_OBJECT, " {}", " {}"),
    ("json_schema", ANY_OBJECT, '{"a":  1}', " 1}"),
    ("json_schema", ANY_OBJECT, '{"a":\n\n1}', "\n1}"),
    ("json_schema", ANY_OBJECT, '{"a":\t1}', "\t1}"),
    ("json_schema", ANY_OBJECT, '{"a": "\\ud83d"}', 'd83d"}'),
    ("json_schema", ANY_OBJECT, '{"a": "\n"}', '\n"}'),
    ("json_schema", ANY_OBJECT, "{} ", " "),
    ("json_schema", PERSON, '{"name": "Ada"}', "}"),
    ("json_schema", PERSON, '{"age": 1}', 'age": 1}'),
    ("json_schema", PERSON, '{"name": "Ada", "age": 1.5}', ".5}"),
    ("json_schema", PERSON, '{"name": "Ada", "age": 1, "likes": ["milk"]}', 'milk"]}'),
    ("regex", "[a-z]+", "abC", "C"),
    ("lark", ONE_CALL, '<tool_call>\n{"name": "cube"', 'cube"'),
    ("lark", ONE_CALL, '<tool_call>\n{"name": "square", "arguments": {"city"', 'city"'),
]


@pytest.mark.parametrize(("kind", "text", "answer", "rest"), NOT_MATCHING)
def test_what_does_not_match_cannot_come(
    tried: Tried, kind: str, text: str, answer: str, rest: str
) -> None:
    assert tried.follow(tried.begin(kind, text), answer) == rest


@pytest.mark.parametrize(
    ("kind", "text", "part"),
    [
        ("json_schema", PERSON, '{"name": "Ada", "age": 3'),
        ("regex", "[a-z]{3}", "ab"),
        ("lark", ONE_CALL, "<tool_call>"),
    ],
)
def test_no_end_may_come_before_a_match(tried: Tried, kind: str, text: str, part: str) -> None:
    guide = tried.begin(kind, text)
    assert tried.follow(guide, part) == ""
    assert not tried.may_end(guide)


@pytest.mark.parametrize(
    ("kind", "text", "answer", "complete"),
    [
        ("json_schema", ANY_OBJECT, "{}", True),
        ("json_schema", '{"type": "integer"}', "12", False),
        ("regex", "ab?", "a", False),
        ("regex", "ab?", "ab", True),
        ("regex", "", "", True),
        ("lark", 'start: "a" | "ab"', "a", False),
    ],
)
def test_an_answer_is_complete_when_only_its_end_could_follow(
    tried: Tried, kind: str, text: str, answer: str, complete: bool
) -> None:
    guide = tried.begin(kind, text)
    assert tried.follow(guide, answer) == ""
    assert (guide.complete, tried.may_end(guide)) == (complete, True)


@pytest.mark.parametrize("size", range(286, 291))
def test_masks_have_a_bit_for_each_token(size: int) -> None:
    tried = by_hand(*(b"%d" % number for number in range(1000, 1000 + size - 257)))
    whole = tried.begin("regex", "[0-9]+")
    after = tried.begin("regex", "[0-9]+", after=("#",))
    assert tried.follow(whole, "1") == tried.follow(after, "#1") == ""
    assert not whole.complete
    masks = [whole.mask(), tried.begin("regex", "5").mask()]
    assert [len(mask) for mask in masks if mask is not None] == [(size + 31) // 32] * 2
    assert len(tried.allowed(whole)) == 10 + size - 257 + 1


def test_all_tokens_that_end_may_end_a_match() -> None:
    tried = by_hand(special=(b"<end>", b"<stop>", b"<no>"))
    tried = Tried(tried.tokens, special={258}, ends={256, 257}, encode=tried.encode)
    guide = tried.begin("regex", "a*")
    assert tried.spelled(tried.allowed(guide)) == {b"a", b"<end>", b"<stop>"}
    guide.accept(257)
    assert tried.may_end(guide)


def test_a_vocabulary_without_an_end_is_held_too() -> None:
    tried = by_hand(special=())
    guide = tried.begin("regex", "ab?")
    assert tried.follow(guide, "a") == ""
    assert tried.spelled(tried.allowed(guide)) == {b"b"}
    guide.accept(ord("b"))
    assert guide.complete


# Random walks

SCHEMAS = [
    PERSON.replace('"type": "string"', '"type": "string", "maxLength": 8').replace(
        '"type": "array"', '"type": "array", "maxItems": 3'
    ),
    '{"type": "string", "maxLength": 12}',
    '{"type": "string", "format": "ipv4"}',
    '{"type": "string", "pattern": "^[a-z]{1,4}-[0-9]{2}$"}',
    '{"type": "integer", "minimum": -7, "maximum": 1200}',
    '{"enum": ["the", "they", "this", 1, null, true, {"a": [1]}]}',
    '{"anyOf": [{"const": "said"}, {"type": "boolean"}, {"type": "null"}]}',
    '{"$defs": {"t": {"type": "array", "items": {"enum": [0, "é😀"]}, "maxItems": 2}},'
    ' "type": "array", "items": {"$ref": "#/$defs/t"}, "maxItems": 3}',
]


def walk(tried: Tried, guide: Guide, seed: int) -> str:
    """The text of a random answer, in which forced tokens are the only ones at each step."""
    choose = random.Random(seed)
    text = b""
    while not guide.complete:
        for token in guide.forced():
            assert tried.allowed(guide) == {token}
            guide.accept(token)
            text += tried.tokens[token]
        allowed = tried.allowed(guide)
        assert not allowed & (tried.special - tried.ends)
        token = choose.choice(sorted(allowed) or [-1])
        if guide.complete or token in tried.ends:
            break
        guide.accept(token)
        text += tried.tokens[token]
    return text.decode()


@pytest.mark.parametrize("schema", SCHEMAS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_any_walk_under_the_mask_is_an_instance_of_the_schema(
    tried: Tried, schema: str, seed: int
) -> None:
    text = walk(tried, tried.begin("json_schema", schema), seed)
    jsonschema.validate(
        json.loads(text),
        json.loads(schema),
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
    )


def test_answers_at_once_do_not_disturb_each_other(tried: Tried) -> None:
    def answer(seed: int) -> str:
        return walk(tried, tried.begin("json_schema", SCHEMAS[seed % len(SCHEMAS)]), seed)

    alone = [answer(seed) for seed in range(32)]
    fresh = Tried(tried.tokens, special=tried.special, ends=tried.ends, encode=tried.encode)
    with ThreadPoolExecutor(4) as threads:
        tried = fresh
        assert list(threads.map(answer, range(32))) == alone


# Forced tokens


def test_forced_tokens_are_those_of_the_tokeniser(tried: Tried) -> None:
    guide = tried.begin("lark", 'start: "Hello world" /[0-9]/')
    forced = guide.forced()
    assert b"".join(tried.tokens[id] for id in forced) == b"Hello world"
    assert len(forced) < len("Hello world")
    for token in forced:
        guide.accept(token)
    assert guide.forced() == []


def test_nothing_is_forced_where_there_is_choice(tried: Tried) -> None:
    assert tried.begin("regex", "ab|cd").forced() == []


def test_a_text_that_looks_like_a_control_token_is_spelled(tried: Tried) -> None:
    guide = tried.begin("json_schema", '{"const": "<|im_end|>"}')
    forced = guide.forced()
    assert b"".join(tried.tokens[id] for id in forced) == b'"<|im_end|>"'
    assert not set(forced) & tried.special


def test_bytes_without_a_token_are_never_forced() -> None:
    tokens = [bytes([byte]) for byte in range(32, 127)] + [b"<end>"]
    tried = Tried(
        tokens,
        special={95},
        ends={95},
        encode=lambda text: [ord(each) - 32 for each in text if each.isascii()],
    )
    guide = tried.begin("regex", "aé|b")
    assert tried.spelled(tried.allowed(guide)) == {b"a", b"b"}
    guide.accept(tokens.index(b"a"))
    with pytest.raises(ConstraintFailed):
        tried.allowed(guide)


# Control tokens

CONTROLS = (b"<end>", b"[CALL]", b"[HIDDEN]")


def test_the_text_of_a_visible_control_token_is_that_token() -> None:
    tried = by_hand(b"[C", special=CONTROLS)
    guide = tried.begin("lark", 'start: "[CALL]" /[a-z]+/', visible=("[CALL]", "[UNKNOWN]"))
    assert guide.forced() == [tried.tokens.index(b"[CALL]")]
    guide.accept(tried.tokens.index(b"[CALL]"))
    assert tried.follow(guide, "abc") == ""


def test_the_text_of_a_hidden_control_token_is_spelled() -> None:
    tried = by_hand(b"[C", special=CONTROLS)
    guide = tried.begin("lark", 'start: "[CALL]"', visible=("[HIDDEN]", "<end>"))
    assert [tried.tokens[id] for id in guide.forced()] == [b"[C", b"A", b"L", b"L", b"]"]


def test_a_control_token_may_be_visible_to_one_answer_and_hidden_from_another() -> None:
    tried = by_hand(b"[C", special=CONTROLS)
    for visible, forced in (((), b"[C"), (("[CALL]",), b"[CALL]"), ((), b"[C")):
        guide = tried.begin("lark", 'start: "[CALL]"', visible=visible)
        assert tried.tokens[guide.forced()[0]] == forced


# After an opening

NUMBER = ("regex", "<[0-9]{2}>")


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("any <xy> text", ""),
        ("now #<12>", ""),
        ("now #<12> and then", ""),
        ("now #<12>#<34>. And #<56>", ""),
        ("now #<1", ""),
        ("#<1>", ">"),
        ("# <12>", " <12>"),
        ("a # is an opening", " is an opening"),
        ("#<12> but #no", "no"),
        ("or call:<12>call:<3x", "x"),
        ("cal call: me", " me"),
    ],
)
def test_only_what_follows_an_opening_is_held(tried: Tried, text: str, rest: str) -> None:
    guide = tried.begin(*NUMBER, after=("#", "call:"))
    assert tried.follow(guide, text) == rest
    assert not guide.complete


def test_the_answer_may_end_where_it_is_free_only(tried: Tried) -> None:
    guide = tried.begin(*NUMBER, after=("#",))
    ends = []
    for part in ("free ", "#", "<12", "> ", "#"):
        assert tried.follow(guide, part) == ""
        ends.append(tried.ends <= tried.allowed(guide))
    assert ends == [True, False, False, True, False]


def test_nothing_is_masked_where_the_answer_is_free(tried: Tried) -> None:
    guide = tried.begin(*NUMBER, after=("<tool>",))
    masks = []
    for part in ("Hello", " <to", "ol", ">", "<12>", " world"):
        masks.append(guide.mask() is None)
        assert tried.follow(guide, part) == ""
    assert masks == [True, True, True, True, False, True]


def test_a_token_goes_beyond_the_opening_only_as_a_match_can() -> None:
    tried = by_hand(b">", b'>{"', b">{", b"><", b"> ", b"a<tool>b", b"a<tool>{", b"l>{}", b"l>}")
    guide = tried.begin("json_schema", ANY_OBJECT, after=("<tool>",))
    everything = set(tried.tokens)
    assert everything - tried.spelled(tried.allowed(guide)) == {b"a<tool>b"}
    for byte in b"<too":
        guide.accept(byte)
    assert everything - tried.spelled(tried.allowed(guide)) == {b"a<tool>b", b"l>}"}
    guide.accept(ord("l"))
    assert everything - tried.spelled(tried.allowed(guide)) == {b"a<tool>b", b"><", b"> "}


@pytest.mark.parametrize(
    ("token", "follows"),
    [(b'>{"', 'a":1} and on'), (b">{", '"a":1} and on'), (b"l>{}", " and on")],
)
def test_what_the_opening_token_goes_on_with_is_part_of_the_match(
    token: bytes, follows: str
) -> None:
    tried = by_hand(b'>{"', b">{", b"l>{}")
    guide = tried.begin("json_schema", ANY_OBJECT, after=("<tool>",))
    for byte in b"<too" + (b"" if token.startswith(b"l") else b"l"):
        guide.accept(byte)
    guide.accept(tried.tokens.index(token))
    assert tried.follow(guide, follows) == ""
    assert guide.mask() is None


def test_a_match_that_could_go_on_is_left_by_any_token(tried: Tried) -> None:
    guide = tried.begin("regex", "[0-9]+", after=("#",))
    assert tried.follow(guide, "#1") == ""
    assert (guide.mask(), guide.forced()) == (None, [])
    assert tried.follow(guide, "23 free #") == ""
    assert tried.spelled(tried.allowed(guide)) == {b"%d" % digit for digit in range(10)}


def test_a_token_that_opens_anew_leaves_a_match_only_as_a_match_can_begin() -> None:
    tried = by_hand(b"#x", b"#1", b"2#3")
    guide = tried.begin("regex", "[0-9]+#?", after=("#",))
    assert tried.follow(guide, "#1") == ""
    assert set(tried.tokens) - tried.spelled(tried.allowed(guide)) == {b"#x"}


def test_with_ends_the_answer_ends_with_the_first_match(tried: Tried) -> None:
    guide = tried.begin("regex", "[0-9]{1,2}", after=("#",), ends=True)
    states = []
    for part in ("free ", "#", "1", "2"):
        assert tried.follow(guide, part) == ""
        states.append((guide.complete, tried.ends <= tried.allowed(guide)))
    assert states == [(False, True), (False, False), (False, True), (True, True)]
    assert tried.follow(guide, "3") == "3"


def test_with_ends_a_match_is_not_left(tried: Tried) -> None:
    guide = tried.begin("lark", 'start: "Hello world" /[0-9]/?', after=("#",), ends=True)
    assert tried.follow(guide, "#Hello world! ") == "! "
    guide.accept(min(tried.ends))
    assert tried.follow(guide, "1!") == "!"
    assert guide.complete


@pytest.mark.parametrize("visible", [(), ("[CALL]",)])
def test_a_control_token_opens(visible: tuple[str, ...]) -> None:
    tried = by_hand(special=CONTROLS)
    guide = tried.begin(*NUMBER, after=("[CALL]",), visible=visible)
    guide.accept(tried.tokens.index(b"[HIDDEN]"))
    assert guide.mask() is None
    guide.accept(tried.tokens.index(b"[CALL]"))
    assert tried.spelled(tried.allowed(guide)) == {b"<"}


def test_what_a_hidden_control_token_is_called_opens_nothing() -> None:
    tried = by_hand(special=CONTROLS)
    guide = tried.begin(*NUMBER, after=("HIDDEN",))
    guide.accept(tried.tokens.index(b"[HIDDEN]"))
    assert guide.mask() is None


def test_forced_tokens_come_after_an_opening_too(tried: Tried) -> None:
    guide = tried.begin("lark", 'start: "Hello world" /[0-9]/', after=("#",))
    assert guide.forced() == []
    assert tried.follow(guide, "#") == ""
    assert b"".join(tried.tokens[id] for id in guide.forced()) == b"Hello world"
    guide.accept(min(tried.ends))
    assert tried.follow(guide, "Hello world1") == ""


# What is refused

REFUSED = [
    ("json_schema", '{"a":', "EOF while parsing a value"),
    ("json_schema", "3", "Expecting object schema"),
    ("json_schema", '{"type": "strong"}', "Invalid type: strong"),
    ("json_schema", '{"not": {"type": "string"}}', 'Unimplemented keys: ["not"]'),
    ("json_schema", '{"$ref": "https://example.com/x.json"}', "'https://example.com/x.json'"),
    ("json_schema", '{"$ref": "#/$defs/x"}', "Pointer '/$defs/x' does not exist"),
    ("json_schema", '{"$ref": "#"}', "nothing can match it"),
    ("json_schema", '{"type": "integer", "minimum": 5, "maximum": 3}', "Unsatisfiable schema"),
    ("json_schema", '{"type": "string", "pattern": "(?=a)b"}', "look-around"),
    ("json_schema", '{"items":' * 100_000 + "{}" + "}" * 100_000, "recursion limit exceeded"),
    (
        "json_schema",
        json.dumps({"properties": {f"property {n}": {"type": "string"} for n in range(20_000)}}),
        "schema too large",
    ),
    ("json_schema", '{"type": "integer", "multipleOf": 1000000007}', "fuel exhausted"),
    ("regex", "(", "unclosed group"),
    ("lark", "start: unknown", 'unknown name: "unknown"'),
    ("lark", "start: <|unknown|>", "unknown special token"),
    ("lark", 'start: start "a"', "nothing can match it"),
    ("lark", "start: " + "(" * 20_000 + '"a"' + ")" * 20_000, "too deeply nested"),
    ("lark", "", "Empty grammar"),
]


@pytest.mark.parametrize(
    ("kind", "text", "reason"), REFUSED, ids=[f"{kind}-{reason}" for kind, _, reason in REFUSED]
)
def test_what_cannot_be_kept_to_is_refused_with_the_reason(
    tried: Tried, kind: str, text: str, reason: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        tried.begin(kind, text)
    assert reason in refused.value.message
    assert refused.value.param == "$.constraint"
    assert "\n" not in refused.value.message
    assert len(refused.value.message) < 400


LARGE = {
    "values": {"enum": [f"value {number}" for number in range(50_000)]},
    "alternatives": {"anyOf": [{"required": [f"key {number}"]} for number in range(2000)]},
    "doubling": {
        "$defs": {
            **{f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)},
            "d60": {"type": "string"},
        },
        "$ref": "#/$defs/d0",
    },
    "repetition": {"type": "string", "pattern": "^((((a{0,99}){0,99}){0,99}){0,99})$"},
    "backtracking": {"type": "string", "pattern": "^(a+)+$"},
    "long": {"type": "string", "minLength": 1_000_000},
}


@pytest.mark.parametrize("name", LARGE)
def test_large_schemas_are_kept_to(tried: Tried, name: str) -> None:
    guide = tried.begin("json_schema", json.dumps(LARGE[name]))
    assert tried.allowed(guide)


def test_a_token_that_does_not_match_ends_the_answer_with_an_error(tried: Tried) -> None:
    guide = tried.begin("regex", "a+")
    with pytest.raises(ConstraintFailed):
        guide.accept(tried.encode("world")[-1])


def test_a_grammar_that_becomes_too_large_ends_the_answer_with_an_error(tried: Tried) -> None:
    guide = tried.begin("regex", "x(.{0,300}a.{0,300}b){0,20}c.{0,500}d")
    with pytest.raises(ConstraintFailed, match="too many expressions"):
        tried.follow(guide, "x" + "abab cab" * 100)


# What is kept


def test_a_constraint_is_compiled_once_and_begun_anew_each_time(
    tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llguidance import LLMatcher

    compiled: list[str] = []
    real = LLMatcher.grammar_from_regex
    monkeypatch.setattr(
        LLMatcher, "grammar_from_regex", lambda text: compiled.append(text) or real(text)
    )
    texts = [f"[0-9]{{{number}}}" for number in range(constraints.KEPT_COMPILED)]
    for text in [texts[0], *texts, texts[0], "[0-9]{99}", texts[0], texts[1]]:
        guide = tried.begin("regex", text)
        assert tried.follow(guide, "9") == ("9" if text == texts[0] else "")
    assert compiled == [*texts, "[0-9]{99}", texts[1]]


def test_tokens_are_asked_for_once_and_at_the_first_constraint() -> None:
    hand = by_hand()
    asked: list[int] = []

    def tokens() -> list[bytes]:
        asked.append(1)
        return hand.tokens

    kept = Constraints(tokens=tokens, special=hand.special, ends=hand.ends, encode=hand.encode)
    counts = [len(asked)]
    for text in ("a", "b"):
        kept.begin(Constraint(kind="regex", text=text))
        counts.append(len(asked))
    assert (counts, repr(kept)) == ([0, 1, 1], "<Constraints, 2 compiled>")


def test_nothing_heavy_is_imported_before_the_first_constraint() -> None:
    program = "import sys; import jan_server.engines.constraints; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert not {"llguidance", "numpy"} & set(run.stdout.decode().split())


def test_guides_tell_their_state(tried: Tried) -> None:
    guide = tried.begin(*NUMBER, after=("#",))
    states = [repr(tried.begin(*NUMBER)), repr(guide)]
    tried.follow(guide, "#")
    assert [*states, repr(guide)] == [
        "<Whole <Match NotStopped>>",
        "<After b''>",
        "<After <Match NotStopped>>",
    ]
