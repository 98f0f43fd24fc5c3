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


class Text(Struct, tag_field="type", tag="text"):
    pass


class Picture(Struct, tag_field="type", tag="picture"):
    pass


class Body(Struct):
    turns: Annotated[list[str | Turn], Meta(min_length=1)] | UnsetType | None = UNSET
    order: Literal["asc", "desc"] | UnsetType = UNSET
    level: Literal[1, 2] = 1
    part: Text | Picture | None = None


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("$.order", ["asc", "desc"]),
        ("$.turns[0].role", ["assistant", "user"]),
        ("$.turns[...].role", ["assistant", "user"]),
        ("$.level", [1, 2]),
        ("$.part.type", ["text", "picture"]),
        ("$.turns[0].size", []),
        ("$.turns", []),
        ("$.nothing", []),
        ("$", []),
        ("$[0]", []),
    ],
)
def test_the_values_of_a_literal_are_found_by_its_path(path: str, values: list[object]) -> None:
    assert allowed_values(Body, path) == values


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"turns": [{"role": "robot"}]}', "$.turns[0].role: must be one of assistant, user."),
        (b'{"part": {"type": "sound"}}', "$.part.type: must be one of text, picture."),
    ],
)
def test_a_value_that_is_none_of_them_is_told_which_there_are(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_json(body, Body)
    assert caught.value.message == message
