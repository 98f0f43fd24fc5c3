"""What a YAML file says, as plain JSON values; and that no file can do harm."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jan_server.store import yml
from jan_server.store.scanner import Problem

SAID: dict[str, tuple[bytes, Any]] = {
    "a mapping": (b"a: 1\nb: [x, 2.5, true, null]\n", {"a": 1, "b": ["x", 2.5, True, None]}),
    "nothing": (b"", None),
    "a byte order mark and CRLF": (b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
    "a block": (b"a: |\n  x\n  y\n", {"a": "x\ny\n"}),
    "keys that are no text": (b"2: a\ntrue: b\n", {"2": "a", "True": "b"}),
    "a date": (b"a: 2024-02-03\n", {"a": "2024-02-03"}),
    "a moment": (b"a: 2024-02-03 04:05:06\n", {"a": "2024-02-03T04:05:06"}),
    "numbers that JSON has not": (b"a: .nan\nb: .inf\n", {"a": None, "b": None}),
    "a huge number": (b"a: " + b"9" * 30, {"a": "9" * 30}),
    "bytes": (b"a: !!binary aGk=\n", {"a": "hi"}),
    "a set": (b"a: !!set {x}\n", {"a": ["x"]}),
    "a key twice": (b"a: 1\na: 2\n", {"a": 2}),
}


@pytest.mark.parametrize("name", SAID)
def test_what_a_file_says(name: str) -> None:
    raw, value = SAID[name]
    assert yml.decode(raw) == value


REFUSED: dict[str, tuple[bytes, str]] = {
    "broken": (b"a: 1\nb: [\n", "3:1 did not find expected node content"),
    "an alias": (b"a: &x [1]\nb: *x\n", "2:4 has an alias"),
    "a bomb": (
        b"a: &a [x,x]\n" + b"".join(b"%c: &%c [*%c,*%c]\n" % (n, n, n - 1, n - 1) for n in b"bcd"),
        "2:8 has an alias",
    ),
    "a deep one": (b"[" * 17 + b"]" * 17, "1:17 is nested too deeply"),
    "a very deep one": (b"[" * 100_000, "1:"),
    "an object": (
        b"a: !!python/object/apply:os.system [ls]\n",
        "1:4 could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.system'",
    ),
    "not UTF-8": (b"a: 1\nb: \xff\n", "2:4 is not UTF-8"),
    "a month that there is not": (b"a: 2024-13-45\n", "1:1 month must be in 1..12*"),
    "a large one": (b"a: " + b"x" * (1 << 20), "1:1 is larger than a megabyte"),
    "two documents": (b"a: 1\n---\nb: 2\n", "2:1 but found another document"),
    "a control character": (b"a: \x00\n", "1:1 control characters are not allowed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_told_with_its_place(name: str) -> None:
    raw, reason = REFUSED[name]
    problem = yml.decode(raw)
    assert isinstance(problem, Problem)
    assert str(problem).startswith(reason.removesuffix("*"))


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_whatever_the_bytes_are_there_is_a_value_or_a_problem(raw: bytes) -> None:
    value = yml.decode(raw)
    if not isinstance(value, Problem):
        msgspec.json.encode(value)
