"""What is left out of a conversation that is too long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jan_server.completions.truncation import (
    chosen_truncation,
    room_for_answer,
    truncated,
    units,
    without,
)

ROLES = {"s": "system", "d": "developer", "u": "user", "a": "assistant", "t": "tool"}


def turns(letters: str) -> list[dict[str, Any]]:
    return [{"role": ROLES[letter], "content": str(n)} for n, letter in enumerate(letters)]


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("u", []),
        ("su", []),
        ("s", []),
        ("", []),
        ("uau", [[0, 1]]),
        ("suauau", [[1, 2], [3, 4]]),
        ("dauau", [[1], [2, 3]]),
        ("usasu", [[0, 2]]),
        ("uatau", [[0, 1, 2, 3]]),
        ("uauatt", [[0, 1]]),
        ("uatatat", [[1, 2], [3, 4]]),
        ("uauata", [[0, 1], [3, 4]]),
        ("aaa", [[0], [1]]),
    ],
)
def test_the_oldest_go_first_and_what_belongs_together_goes_together(
    letters: str, expected: list[list[int]]
) -> None:
    assert units(turns(letters)) == expected


def test_what_is_left_keeps_its_order() -> None:
    kept = without(turns("suau"), [[1, 2]])
    assert [turn["content"] for turn in kept] == ["0", "3"]


def shortened(letters: str, most: int) -> tuple[str, int]:
    """What is left of a conversation that must have `most` turns, and how often it was measured."""
    measured = 0

    async def fits(some: Any) -> bool:
        nonlocal measured
        measured += 1
        return len(some) <= most

    left = asyncio.run(truncated(turns(letters), fits))
    return "".join(turn["role"][0] for turn in left), measured


@pytest.mark.parametrize(
    ("letters", "most", "left"),
    [
        ("suau", 4, "suau"),
        ("suauau", 5, "suau"),
        ("suauau", 4, "suau"),
        ("suauau", 3, "su"),
        ("suauau", 1, "su"),
        ("u", 0, "u"),
        ("suatatat", 4, "suat"),
    ],
)
def test_as_few_as_possible_are_left_out(letters: str, most: int, left: str) -> None:
    assert shortened(letters, most)[0] == left


def test_a_long_conversation_is_not_measured_turn_by_turn() -> None:
    left, measured = shortened("ua" * 500 + "u", 101)
    assert (len(left), measured) == (101, 10)


@pytest.mark.parametrize(
    ("context_length", "max_tokens", "room"),
    [(100, 10, 10), (100, 2048, 50), (100, None, 25), (100, 50, 50), (2, None, 1), (1, 1, 1)],
)
def test_room_is_left_for_the_answer(
    context_length: int, max_tokens: int | None, room: int
) -> None:
    assert room_for_answer(context_length, max_tokens) == room


@pytest.mark.parametrize(
    ("said", "chosen"),
    [
        (("auto", "disabled"), "auto"),
        (("disabled", "auto"), "disabled"),
        ((None, "auto"), "auto"),
        ((None, None), "disabled"),
    ],
)
def test_the_request_wins_over_the_manifest(said: tuple[Any, Any], chosen: str) -> None:
    assert chosen_truncation(*said) == chosen
