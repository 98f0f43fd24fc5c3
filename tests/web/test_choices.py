from __future__ import annotations

from typing import Annotated, Literal

import pytest
from msgspec import UNSET, Meta, Struct, UnsetType

from jan_server.errors import InvalidRequest
from jan_server.web.choices import allowed_values
from jan_server.web.requests import decode_json


class Turn(Struct):
    role: Literal["user", "assistant"]
    size: int = 0


class Body(Struct):
    turns: Annotated[list[str | Turn], Meta(min_length=1)] | UnsetType | None = UNSET
    order: Literal["asc", "desc"] | UnsetType = UNSET
    level: Literal[1, 2] = 1


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("$.order", ["asc", "desc"]),
        ("$.turns[0].role", ["assistant", "user"]),
        ("$.turns[...].role", ["assistant", "user"]),
        ("$.level", [1, 2]),
        ("$.turns[0].size", []),
        ("$.turns", []),
        ("$.nothing", []),
        ("$", []),
        ("$[0]", []),
    ],
)
def test_the_values_of_a_literal_are_found_by_its_path(path: str, values: list[object]) -> None:
    assert allowed_values(Body, path) == values


def test_a_value_that_is_none_of_them_is_told_which_there_are() -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_json(b'{"turns": [{"role": "robot"}]}', Body)
    assert caught.value.message == "$.turns[0].role: must be one of assistant, user."
