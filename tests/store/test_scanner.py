"""What bytes say, or where and why they say nothing."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jan_server.store.scanner import MAX_DEPTH, Problem, decode, same

BROKEN = {
    b"": "1:1 is empty",
    b" \r\n": "1:1 is empty",
    b"\0\0\0": "1:1 holds nothing but zeros",
    b'{"a": 1': "1:8 ends too early",
    b"[1,": "1:4 ends too early",
    b'{"a": 1,}': "1:9 expected a key in double quotes",
    b'{\n  // why\n  "a": 1}': "2:3 expected a key in double quotes",
    b'{\n  "a": tru\n}': "2:8 expected a value",
    b'{"a" 1}': "1:6 expected ':'",
    b'{"a": 1 "b": 2}': "1:9 expected ','",
    '{"é": "é" x}'.encode(): "1:11 expected ','",
    b'\xef\xbb\xbf{"a": x}': "1:7 expected a value",
    b'{"a": "b': "1:7 a string that begins here does not end",
    b'{"a": "\x01"}': "1:8 a control character must be escaped",
    b'{"a": "\\x"}': "1:8 no such escape",
    b"{}\n{}": "2:1 expected the end",
    b'{"a": "\xff"}': "1:8 is not UTF-8",
    b'{"a": NaN}': "1:1 NaN is not JSON",
    b'{"a": 1e999}': "1:1 a number is out of range",
    b"1" * 5000: "1:1 a number is out of range",
    b"[" * 201 + b"]" * 201: "1:1 nested deeper than 200",
    b'{"a":' * 201 + b"1" + b"}" * 201: "1:1 nested deeper than 200",
    b"[" * 1_000_000: "1:1 nested deeper than 200",
    b'["\\ud83d",' + b"[" * 100_000: "1:1 nested deeper than 200",
}


@pytest.mark.parametrize(("raw", "problem"), BROKEN.items(), ids=BROKEN.values())
def test_broken_json_says_where_and_why(raw: bytes, problem: str) -> None:
    assert str(decode(raw)) == problem


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}\r\n', {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'{"\\ud83d": ["a\\ude00b", 1, null]}', {"\ufffd": ["a\ufffdb", 1, None]}),
        (b'"\\u0000"', "\0"),
        (b'["\\ud83d", 1.5, -2]', ["\ufffd", 1.5, -2]),
        (b"1" * 400, int("1" * 400)),
        (b'"' + b"[{" * 300 + b'"', "[{" * 300),
        (b"[" + b"{}," * 300 + b"1]", [{}] * 300 + [1]),
    ],
)
def test_json_that_msgspec_alone_would_refuse_or_misjudge(raw: bytes, value: object) -> None:
    assert decode(raw) == value


def test_values_may_be_as_deep_as_is_promised() -> None:
    assert not isinstance(decode(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH), Problem)


def test_places_count_from_where_the_bytes_begin() -> None:
    assert decode(b"x", line=17, column=40) == Problem(17, 40, "expected a value")
    assert decode(b"[\n x", line=17, column=40) == Problem(18, 2, "expected a value")


PIECES = [
    *(b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\\ud83d", b"\\n", b'"a"', b'"a":', b"1"),
    *(
        b"-",
        b".",
        b"e9",
        b"true",
        b"null",
        b"NaN",
        b" ",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
    ),
]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join) | st.binary(max_size=40))
def test_any_bytes_are_a_value_or_a_problem_with_its_place(raw: bytes) -> None:
    found = decode(raw)
    if isinstance(found, Problem):
        assert 1 <= found.line <= raw.count(b"\n") + 1
        assert 1 <= found.column <= len(raw) + 1
    known = _as_python_reads(raw)
    if known is not None:
        assert same(found, known)


def _as_python_reads(raw: bytes) -> object:
    """The value; None when it is none, or one in which Python sees more than JSON has."""
    try:
        known: object = json.loads(raw.decode("utf-8-sig"))  # Bytes may be UTF-16 to it.
    except ValueError:
        return None
    is_plain = not any(word in raw for word in (b"NaN", b"\\ud83d"))
    return known if is_plain else None


@pytest.mark.parametrize("end", [b'"}', b""])
def test_a_very_long_text_takes_bounded_time(end: bytes) -> None:
    start = time.process_time()
    decode(b'{"a":"' + b"x" * 50_000_000 + end)
    assert time.process_time() - start < 10  # Less than one; quadratic it would be hours.


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (None, False, False),
        (True, True, True),
        ({"a": [1, 2]}, {"a": (1, 2.0)}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ([1], [1, 1], False),
        ([1], {"0": 1}, False),
        ("1", 1, False),
    ],
)
def test_when_two_values_are_the_same_json(one: object, other: object, expected: bool) -> None:
    assert same(one, other) is expected
    assert same(other, one) is expected
