"""JSON Schemas as clients send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Where a schema has further schemas: by name, in a list, or alone.
# Not those of `allOf`: each closed for itself, no object could have what all of them name.
_BY_NAME = ("properties", "$defs", "definitions", "patternProperties")
_IN_LISTS = ("anyOf", "oneOf", "prefixItems")


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with no properties in its objects beside those that it names.

    What it says of `additionalProperties` itself stays. OpenAI's strict mode demands that schemas
    say this themselves; taken as said, a schema without it does what was meant.
    """
    copy = {key: _closed_below(key, value) for key, value in schema.items()}
    if "properties" in copy and "allOf" not in copy:
        copy.setdefault("additionalProperties", False)
    return copy


def _closed_below(key: str, value: Any) -> Any:
    if key in _BY_NAME and isinstance(value, dict):
        return {name: _closed(part) for name, part in value.items()}
    if key in _IN_LISTS and isinstance(value, list):
        return [_closed(part) for part in value]
    return _closed(value) if key == "items" else value


def _closed(schema: Any) -> Any:
    return closed(schema) if isinstance(schema, dict) else schema
