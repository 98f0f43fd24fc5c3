"""YAML bytes -> plain JSON values, bounded: what a `model.yml` says.

Read with PyYAML's safe loader, which makes no objects. A `model.yml` is a flat mapping of a few
kilobytes: beyond a megabyte, a depth of sixteen or with aliases (with which a kilobyte can stand
for gigabytes) it is none. Values that JSON does not have become the nearest that it has: a date its
text, a key its text, a number that is none null.
"""

from __future__ import annotations

import datetime
import math
from typing import Any

from jan_server.store.scanner import Problem

MOST_BYTES = 1 << 20
MOST_DEPTH = 16
_MOST_OF_A_NUMBER = 2**63


def decode(raw: bytes) -> Any:
    """The value, or the Problem with its place."""
    # A folder of Jan 0.4's has none: those who read no YAML start without it (30 ms).
    import yaml

    if len(raw) > MOST_BYTES:
        return Problem(1, 1, "is larger than a megabyte")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = raw.decode("utf-8-sig")
        problem = _check(text, loader)
        # The loader makes plain values only, whatever tags the file has.
        return problem or _plain(yaml.load(text, loader))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return Problem(line, error.start - raw.rfind(b"\n", 0, error.start), "is not UTF-8")
    except yaml.YAMLError as error:
        return _problem(error)
    except (ValueError, OverflowError, RecursionError) as error:  # A date of month 13.
        return Problem(1, 1, str(error) or "cannot be read")


def _check(text: str, loader: Any) -> Problem | None:
    """Look at it piece by piece, before anything is made of it."""
    import yaml

    depth = 0
    for event in yaml.parse(text, loader):
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            return Problem(mark.line + 1, mark.column + 1, "has an alias")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            return Problem(mark.line + 1, mark.column + 1, "is nested too deeply")
    return None


def _problem(error: Any) -> Problem:
    mark = getattr(error, "problem_mark", None)
    said = (getattr(error, name, None) for name in ("problem", "reason"))
    reason = next(filter(None, said), "is no YAML")
    return Problem(mark.line + 1, mark.column + 1, reason) if mark else Problem(1, 1, reason)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and not -_MOST_OF_A_NUMBER <= value < _MOST_OF_A_NUMBER:
        return str(value)
    return value
