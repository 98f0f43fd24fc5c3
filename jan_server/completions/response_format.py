"""OpenAI's `response_format` -> what the answer must match.

A schema that is not `strict` counts as far as it goes: what no grammar can hold an answer to is
passed over. A strict one is refused then.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UnsetType

from jan_server.completions.schemas import closed
from jan_server.engines.base import Constraint
from jan_server.engines.constraints import JSON_LAYOUT
from jan_server.errors import InvalidRequest
from jan_server.types.tool import JsonObjectFormat, JsonSchemaFormat, ResponseFormat

_ANY_OBJECT: dict[str, Any] = {"type": "object"}


def read(response_format: ResponseFormat | UnsetType | None) -> Constraint | None:
    """None where any answer will do. Raises InvalidRequest when the schema is missing."""
    if isinstance(response_format, JsonObjectFormat):
        return _constraint(response_format.schema or _ANY_OBJECT)
    if isinstance(response_format, JsonSchemaFormat):
        return _constraint(_named(response_format))
    return None


def _named(response_format: JsonSchemaFormat) -> dict[str, Any]:
    named = response_format.json_schema
    if not isinstance(named.schema, dict):
        path = "$.response_format.json_schema.schema"
        raise InvalidRequest(f"{path}: it is missing.", param=path)
    if named.strict:
        return closed(named.schema)
    return {"x-guidance": {**JSON_LAYOUT, "lenient": True}, **named.schema}


def _constraint(schema: dict[str, Any]) -> Constraint:
    return Constraint(kind="json_schema", text=msgspec.json.encode(schema).decode())
