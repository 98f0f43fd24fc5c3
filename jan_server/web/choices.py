"""Which values a field may have, found by its JSON path: msgspec's errors do not name them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from msgspec import inspect

_STEP = re.compile(r"\.(?P<field>\w+)|\[")


def allowed_values(type: Any, path: str) -> list[Any]:
    """The values of the Literal at a path such as `$.messages[0].role`; [] when there is none.

    What tells the members of a union apart is such a Literal too.
    """
    found = [inspect.type_info(type)]
    for step in _STEP.finditer(path):
        found = [inner for outer in found for inner in _step(outer, step["field"])]
    literals = [kind for outer in found for kind in _alternatives(outer)]
    return [v for kind in literals if isinstance(kind, inspect.LiteralType) for v in kind.values]


def _step(type: inspect.Type, field: str | None) -> Iterator[inspect.Type]:
    """Into a field of an object, or for None into an item of an array."""
    for kind in _alternatives(type):
        if field is None and isinstance(kind, inspect.ListType | inspect.VarTupleType):
            yield kind.item_type
        elif field is not None and isinstance(kind, inspect.StructType):
            yield from (known.type for known in kind.fields if known.encode_name == field)
            if field == kind.tag_field:
                yield inspect.LiteralType((kind.tag,))


def _alternatives(type: inspect.Type) -> Iterator[inspect.Type]:
    """The type itself, without annotations, or those of a union."""
    if isinstance(type, inspect.Metadata):
        yield from _alternatives(type.type)
    elif isinstance(type, inspect.UnionType):
        for inner in type.types:
            yield from _alternatives(inner)
    else:
        yield type
