"""A field that is a text, token ids, or a list of either, as OpenAI's `prompt` and `input` are."""

from __future__ import annotations

from typing import Any

from jan_server.errors import InvalidRequest

Input = str | tuple[int, ...]

# OpenAI's bound for embeddings; each of them is computed one after the other.
MOST = 2048


def read_inputs(value: str | list[Any], path: str) -> list[Input]:
    """One or more. Raises InvalidRequest with the place of what is neither."""
    if isinstance(value, str):
        return [value]
    if not value:
        raise InvalidRequest(f"{path}: is empty.", param=path)
    if all(_is_id(item) for item in value):
        return [tuple(value)]
    if len(value) > MOST:
        raise InvalidRequest(f"{path}: has more than {MOST} items.", param=path)
    return [_read_one(item, f"{path}[{index}]") for index, item in enumerate(value)]


def _read_one(value: Any, path: str) -> Input:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(_is_id(item) for item in value):
        return tuple(value)
    raise InvalidRequest(f"{path}: must be a text or a list of token ids.", param=path)


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31
