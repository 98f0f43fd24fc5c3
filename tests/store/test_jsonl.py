"""Bytes of a file of lines -> its records and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jan_server.store.jsonl import GLUED, ZEROS, count_lines, records

A, B = b'{"id":"a"}', b'{"id":"b"}'

Row = tuple[int, int, Any, str | None]
TABLE: dict[str, tuple[bytes, list[Row]]] = {
    "empty": (b"", []),
    "plain": (A + b"\n" + B + b"\n", [(1, 0, "a", None), (2, 11, "b", None)]),
    "no final newline": (A + b"\n" + B, [(1, 0, "a", None), (2, 11, "b", None)]),
    "CRLF": (A + b"\r\n" + B + b"\r\n", [(1, 0, "a", None), (2, 12, "b", None)]),
    "byte order mark": (b"\xef\xbb\xbf" + A + b"\n", [(1, 3, "a", None)]),
    "blank lines": (b"\n \t\r\n" + A + b"\n\n", [(3, 5, "a", None)]),
    "torn last line": (
        A + b'\n{"id":',
        [(1, 0, "a", None), (2, 11, None, "2:7 ends too early (torn)")],
    ),
    "torn in a text": (
        b'{"id":"b',
        [(1, 0, None, "1:7 a string that begins here does not end (torn)")],
    ),
    "whole but broken last line": (b"nonsense", [(1, 0, None, "1:1 expected a value (torn)")]),
    "torn, then continued": (
        b'{"id":\n' + A + b"\n",
        [(1, 0, None, "1:7 ends too early"), (2, 7, "a", None)],
    ),
    "glued": (
        A + B + b"\n" + A + b"\n",
        [(1, 0, "a", None), (1, 10, "b", f"1:11 {GLUED}"), (2, 21, "a", None)],
    ),
    "glued with spaces": (b" " + A + b"  " + B, [(1, 1, "a", None), (1, 13, "b", f"1:14 {GLUED}")]),
    "glued three": (
        A + B + A,
        [(1, 0, "a", None), (1, 10, "b", f"1:11 {GLUED}"), (1, 20, "a", f"1:21 {GLUED}")],
    ),
    "glued, then torn": (
        A + b'{"id":',
        [(1, 0, "a", None), (1, 10, None, "1:17 ends too early (torn)")],
    ),
    "glued, the second refused": (
        A + b'{"id":NaN}' + B + b"\n",
        [
            (1, 0, "a", None),
            (1, 10, None, "1:11 NaN is not JSON"),
            (1, 20, "b", f"1:21 {GLUED}"),
        ],
    ),
    "glued, then blanks": (
        A + B + b"  \n",
        [(1, 0, "a", None), (1, 10, "b", f"1:11 {GLUED}")],
    ),
    "something after a record": (A + b" x\n", [(1, 0, None, "1:12 expected the end")]),
    "glue, then something else": (A + B + b",\n", [(1, 0, None, "1:11 expected the end")]),
    "looks glued, begins otherwise": (b"[" + A + B + b"\n", [(1, 0, None, "1:12 expected ','")]),
    "looks glued, is broken": (b'{"x" {} {}\n', [(1, 0, None, "1:6 expected ':'")]),
    "glue and bad UTF-8": (A + b'{"\xff"}\n', [(1, 0, None, "1:13 is not UTF-8")]),
    "bad UTF-8": (b'{"id":"\xff"}\n' + A, [(1, 0, None, "1:8 is not UTF-8"), (2, 11, "a", None)]),
    "zeros": (b"\0\0\0\n" + A, [(1, 0, None, "1:1 holds nothing but zeros"), (2, 4, "a", None)]),
    "zeros before": (b"\0\0" + A + b"\n", [(1, 0, None, "1:1 expected a value")]),
    "zeros behind": (
        A + b"\0\0\n" + B,
        [(1, 0, "a", None), (1, 10, None, f"1:11 {ZEROS}"), (2, 13, "b", None)],
    ),
    "zeros behind the last": (
        A + b"\0",
        [(1, 0, "a", None), (1, 10, None, f"1:11 {ZEROS} (torn)")],
    ),
    "zeros behind something broken": (b"x\0\n", [(1, 0, None, "1:1 expected a value")]),
    "glued, then zeros": (
        A + B + b"\0",
        [
            (1, 0, "a", None),
            (1, 10, "b", f"1:11 {GLUED}"),
            (1, 20, None, f"1:21 {ZEROS} (torn)"),
        ],
    ),
    "no object": (
        b'[1]\n"a"\nnull\n',
        [
            (1, 0, None, "1:1 expected an object"),
            (2, 4, None, "2:1 expected an object"),
            (3, 8, None, "3:1 expected an object"),
        ],
    ),
    "lone surrogate": (b'{"id":"\\ud83d"}', [(1, 0, "\ufffd", None)]),
    "depth bomb": (
        b"[" * 100_000 + b"\n" + A,
        [(1, 0, None, "1:1 nested deeper than 200"), (2, 100_001, "a", None)],
    ),
    "a separator that is no newline": (
        '{"id":"a\u2028b"}'.encode(),
        [(1, 0, "a\u2028b", None)],
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_each_line_is_judged_by_itself(name: str) -> None:
    raw, expected = TABLE[name]
    assert [_row(record) for record in records(raw)] == expected


@pytest.mark.parametrize("name", TABLE)
def test_a_records_bytes_are_at_its_offset(name: str) -> None:
    raw, _ = TABLE[name]
    for record in records(raw):
        assert raw[record.offset :].startswith(record.raw)


def _row(record: Any) -> Row:
    problem = str(record.problem) if record.problem else None
    value = record.value["id"] if record.value is not None else None
    torn = " (torn)" if record.is_torn else ""
    return record.line, record.offset, value, problem + torn if problem else None


@given(st.lists(st.sampled_from([A, B, b"", b"x", A + B, b"\r", b"\0"])), st.integers(0, 9))
def test_reading_on_from_a_line_finds_what_reading_all_finds(lines: list[bytes], cut: int) -> None:
    whole = b"".join(line + b"\n" for line in lines)
    first = b"".join(line + b"\n" for line in lines[:cut])
    rest = records(whole, start=len(first), line=count_lines(first) + 1)
    assert records(first) + rest == records(whole)


@given(st.binary(max_size=60))
def test_no_bytes_are_too_bad(raw: bytes) -> None:
    assert all(record.value is not None or record.problem is not None for record in records(raw))
    assert sum(len(record.raw) for record in records(raw)) <= len(raw)


@pytest.mark.parametrize(
    ("raw", "count"), [(b"", 0), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (b"\n\n", 2)]
)
def test_lines_are_counted_as_an_editor_does(raw: bytes, count: int) -> None:
    assert count_lines(raw) == count
