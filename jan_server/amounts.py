"""Durations and sizes as people write them, as numbers. Raises ValueError with what is wrong."""

from __future__ import annotations

import math
import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = r"^\s*-?(\d+(\.\d*)?|(\d+(\.\d*)?(ms|[smhd]))+)\s*$"
"""What text means one, as a regular expression: digits are seconds."""

_PART = re.compile(r"(\d+(?:\.\d*)?)(ms|[smhd])")

_SIZE = re.compile(r"(\d+(?:\.\d*)?)\s*(?:([kmgt])(i?)b?|b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def seconds(value: float | str) -> float:
    """`300`, `"300"`, `"5m"`, `"1h30m"` as seconds; negative ones are for ever: infinity.

    Ollama's convention for `keep_alive` (its api.md), with days added.
    """
    number = _seconds(value) if isinstance(value, str) else float(value)
    return math.inf if number < 0 else number


def size(value: int | str) -> int:
    """`8000000000`, `"8GB"`, `"7.5 GiB"` as bytes; `GB` are powers of 1000, `GiB` of 1024."""
    found = _SIZE.fullmatch(str(value).strip())
    if found is None:
        raise ValueError(f"{str(value)[:40]!r} is no size such as 8GB, 512MiB or 8000000000")
    unit = 1024 if found[3] else 1000
    return int(float(found[1]) * unit ** _POWERS[(found[2] or "").lower()])


def _seconds(text: str) -> float:
    if not re.match(DURATION, text):
        raise ValueError(f"{text[:40]!r} is no duration such as 30s, 5m, 1h30m, 0 or -1")
    parts = _PART.findall(text) or [(text.strip().lstrip("-"), "s")]
    total = sum(float(count) * _SECONDS[unit] for count, unit in parts)
    return -total if text.strip().startswith("-") else total
