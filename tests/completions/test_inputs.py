"""Fields that are a text, token ids, or a list of either."""

from __future__ import annotations

from typing import Any

import pytest

from jan_server.completions.inputs import MOST, read_inputs
from jan_server.errors import InvalidRequest


@pytest.mark.parametrize(
    ("value", "inputs"),
    [
        ("", [""]),
        ("a", ["a"]),
        (["a", ""], ["a", ""]),
        ([1, 2], [(1, 2)]),
        ([[1, 2], [3]], [(1, 2), (3,)]),
        (["a", [1]], ["a", (1,)]),
        ([0] * (MOST + 1), [(0,) * (MOST + 1)]),
    ],
)
def test_every_form_is_a_list_of_texts_and_tokens(value: Any, inputs: Any) -> None:
    assert read_inputs(value, "$.x") == inputs


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ([], "$.x"),
        ([[]], "$.x[0]"),
        ([1, "a"], "$.x[0]"),
        (["a", 1], "$.x[1]"),
        ([True], "$.x[0]"),
        ([-1], "$.x[0]"),
        ([2**31], "$.x[0]"),
        ([1.5], "$.x[0]"),
        ([[1, None]], "$.x[0]"),
        (["a"] * (MOST + 1), "$.x"),
    ],
)
def test_what_is_neither_is_refused_with_its_place(value: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_inputs(value, "$.x")
    assert caught.value.param == param
