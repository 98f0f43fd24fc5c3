"""What the answer must match, from the fields that say so: at most one of them.

OpenAI's `response_format`; llama.cpp's bare `json_schema` and `grammar`; `regex`; and vLLM's names
of these. A grammar is Lark; llama.cpp's own language, GBNF, is told apart and refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from jan_server.completions import response_format
from jan_server.engines.base import Constraint
from jan_server.errors import InvalidRequest, ParameterNotSupported
from jan_server.types.sampling import Sampling


class Asked(NamedTuple):
    """A constraint, and the field that asked for it."""

    field: str
    constraint: Constraint

    @property
    def place(self) -> str:
        return f"$.{self.field}"


def read_constraint(request: Sampling, sent: Mapping[str, Any]) -> Asked | None:
    """`sent` is the request's own JSON object.

    Raises InvalidRequest for a field that is wrong, and for a second one.
    """
    read = {"response_format": response_format.read(request.response_format)} | {
        field: reader(sent[field], f"$.{field}")
        for field, reader in READERS.items()
        if sent.get(field) is not None
    }
    found = [Asked(field, constraint) for field, constraint in read.items() if constraint]
    if len(found) > 1:
        first, second = found[0].field, found[1].place
        raise InvalidRequest(f"{second}: the answer must match {first} already.", param=second)
    return found[0] if found else None


def check_engine(asked: Asked | None, *, constrains: bool) -> None:
    """Raises ParameterNotSupported where the engine can hold no answer to a constraint."""
    if asked and not constrains:
        raise ParameterNotSupported(
            f"{asked.place}: this model's engine cannot honour it: leave it out.",
            param=asked.place,
        )


def _json_schema(value: Any, path: str) -> Constraint:
    if isinstance(value, str):  # vLLM takes the schema as a text, too.
        value = _parsed(value, path)
    if not isinstance(value, dict | bool):
        raise InvalidRequest(f"{path}: must be a JSON Schema.", param=path)
    return Constraint(kind="json_schema", text=msgspec.json.encode(value).decode())


def _parsed(text: str, path: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{path}: is not JSON: {error}.", param=path) from error


def _regex(value: Any, path: str) -> Constraint | None:
    text = _text(value, path)
    return Constraint(kind="regex", text=text) if text else None


def _grammar(value: Any, path: str) -> Constraint | None:
    text = _text(value, path)
    if _GBNF.search(text):
        raise ParameterNotSupported(
            f"{path}: this is GBNF (`root ::= ...`); grammars are Lark here: `start: ...`.",
            param=path,
        )
    return Constraint(kind="lark", text=text) if text.strip() else None


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"{path}: must be a string.", param=path)
    return value


# A rule of GBNF; Lark writes `name: ...`, and has `::=` nowhere but in strings.
_GBNF = re.compile(r"^\s*[\w-]+\s*::=", re.MULTILINE)

READERS: dict[str, Callable[[Any, str], Constraint | None]] = {
    "json_schema": _json_schema,
    "guided_json": _json_schema,
    "regex": _regex,
    "guided_regex": _regex,
    "grammar": _grammar,
    "guided_grammar": _grammar,
}
