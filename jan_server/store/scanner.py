"""JSON bytes -> the value, or where and why they are not JSON.

msgspec decodes; it is strict and fast but gives no line, and it refuses a lone surrogate. What it
refuses is read again by the standard library, which knows the place. Both run in C, so a line of
50 MB takes seconds at most, broken or not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

MAX_DEPTH = 200
"""Deeper values could not be answered: encoders recurse."""

BOM = b"\xef\xbb\xbf"
TOO_DEEP = f"nested deeper than {MAX_DEPTH}"

_decode = msgspec.json.Decoder().decode

_REASONS = {
    "Expecting value": "expected a value",
    "Expecting ',' delimiter": "expected ','",
    "Expecting ':' delimiter": "expected ':'",
    "Expecting property name enclosed in double quotes": "expected a key in double quotes",
    "Illegal trailing comma before end of object": "expected a key in double quotes",
    "Illegal trailing comma before end of array": "expected a value",
    "Unterminated string starting at": "a string that begins here does not end",
    "Invalid control character at": "a control character must be escaped",
    "Invalid \\escape": "no such escape",
    "Invalid \\uXXXX escape": "expected four hexadecimal digits",
    "Extra data": "expected the end",
}


class Problem(msgspec.Struct, frozen=True):
    """Why something is not what it should be. Lines and columns count from 1, in characters."""

    line: int
    column: int
    reason: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column} {self.reason}"


def decode(raw: bytes, *, line: int = 1, column: int = 1) -> Any | Problem:
    """The value; a Problem when there is none. `line` and `column` are where `raw` begins.

    A byte order mark is skipped. A lone surrogate reads as U+FFFD.
    """
    body = raw.removeprefix(BOM)
    try:
        value = _decode(body)
    except RecursionError:
        return Problem(line, column, TOO_DEEP)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        value = _decode_slowly(body)
    if not isinstance(value, Problem):
        if not _is_too_deep(body, value):
            return value
        value = Problem(1, 1, TOO_DEEP)
    return Problem(
        line + value.line - 1,
        value.column + (column - 1 if value.line == 1 else 0),
        value.reason,
    )


def same(one: Any, other: Any) -> bool:
    """Whether two decoded values are the same JSON: `1` is `1.0`, but not `true`."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def _decode_slowly(body: bytes) -> Any | Problem:
    if not body.strip(b" \t\r\n\0"):
        return Problem(1, 1, "holds nothing but zeros" if b"\0" in body else "is empty")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        return _at(body[: error.start].decode(), "is not UTF-8")
    try:
        return _without_surrogates(_PLACES.decode(text))
    except json.JSONDecodeError as error:
        return _at(text[: error.pos], _reason(error, text))
    except RecursionError:
        return Problem(1, 1, TOO_DEEP)
    except ValueError as error:
        return Problem(1, 1, str(error))


def _at(before: str, reason: str) -> Problem:
    return Problem(before.count("\n") + 1, len(before) - before.rfind("\n"), reason)


def _reason(error: json.JSONDecodeError, text: str) -> str:
    if error.pos >= len(text):
        return "ends too early"
    return _REASONS.get(error.msg.split(": ")[0], error.msg)


def _is_too_deep(body: bytes, value: Any) -> bool:
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _whole(text: str) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise ValueError("a number is out of range") from error
    return number


_PLACES = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)
