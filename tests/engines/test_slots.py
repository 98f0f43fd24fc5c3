"""A chat finds the slot that holds its beginning, and takes no other chat's."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jan_server.engines.slots import Chosen, Slot, choose, common_prefix

SYSTEM = list(range(1000, 1100))
OTHER_SYSTEM = list(range(2000, 2100))
FIRST = [*SYSTEM, 1, 2, 3, 4, 5, 6]  # 106 tokens
LONGER = [*FIRST, 7, 8, 9]
ANOTHER = [*SYSTEM, 11, 12, 13, 14, 15, 16]


def slot(number: int, held: Sequence[int] = (), *, first: int | None = None, used: int = 1) -> Slot:
    first_prompt = len(held) if first is None else first
    return Slot(number=number, held=held, first_prompt=first_prompt, used=used)


CHOICES: dict[str, tuple[list[Slot], Sequence[int], Chosen]] = {
    "the only one": ([slot(2, [8, 9])], [1, 2], Chosen(2, 2)),
    "unused ones first": ([slot(0, FIRST), slot(1, used=0)], [5, 6, 7], Chosen(1, 3)),
    "then the one used longest ago": (
        [slot(0, FIRST, used=3), slot(1, ANOTHER, used=2), slot(2, [5], used=4)],
        [7],
        Chosen(1, 1),
    ),
    "a chat that goes on gets its own": (
        [slot(0, FIRST, used=9), slot(1, used=0)],
        LONGER,
        Chosen(0, 106),
    ),
    "and one that is asked for again": (
        [slot(0, LONGER, first=106, used=9), slot(1, used=0)],
        FIRST,
        Chosen(0, 106),
    ),
    "and one whose later message was changed": (
        [slot(0, [*LONGER, 20, 21, 22, 23], first=106, used=9), slot(1, used=0)],
        [*LONGER, 30, 31],
        Chosen(0, 106),
    ),
    "and one of whose prompt only a part was evaluated": (
        [slot(0, FIRST[:50], first=106, used=9), slot(1, used=0)],
        FIRST,
        Chosen(0, 106),
    ),
    "and one whose template takes four tokens back": (
        [slot(0, [*FIRST, 91, 92, 93, 94, 95], first=110, used=9), slot(1, used=0)],
        [*FIRST, 7, 8],
        Chosen(0, 110),
    ),
    "of several the one that spares most": (
        [slot(0, FIRST, used=1), slot(1, LONGER, first=106, used=9)],
        [*LONGER, 10],
        Chosen(1, 106),
    ),
    "of equal ones the one used longest ago": (
        [slot(0, FIRST, used=5), slot(1, FIRST, used=4)],
        LONGER,
        Chosen(1, 106),
    ),
    "another chat's system prompt takes no slot": (
        [slot(0, FIRST, used=9), slot(1, used=0)],
        ANOTHER,
        Chosen(1, 106),
    ),
    "not even from the one used before last": (
        [slot(0, FIRST, used=9), slot(1, OTHER_SYSTEM, used=8)],
        ANOTHER,
        Chosen(1, 106),
    ),
    "a short prompt is not taken back from": (
        [slot(0, [1, 2, 3, 4, 5], used=9), slot(1, used=0)],
        [1, 2, 3, 4, 6],
        Chosen(1, 5),
    ),
    "what is no chat's becomes one's": ([slot(0, SYSTEM, first=0, used=0)], FIRST, Chosen(0, 106)),
    "but is sought by none": (
        [slot(0, SYSTEM, first=0, used=1), slot(1, used=0)],
        FIRST,
        Chosen(1, 106),
    ),
    "nothing in common is nothing": ([slot(0, [1], used=9), slot(1, used=0)], [2], Chosen(1, 1)),
}


@pytest.mark.parametrize("case", CHOICES)
def test_the_choice(case: str) -> None:
    idle, prompt, expected = CHOICES[case]
    assert choose(idle, prompt) == expected
    assert choose(idle[::-1], prompt) == expected


class Chats:
    """Chats that take turns in a few slots; each says something of its own after the prompt."""

    def __init__(self, slots: int, system: list[int]) -> None:
        self.slots = [Slot(number=number) for number in range(slots)]
        self.system = system
        self.said: dict[int, list[int]] = {}
        self.order: list[int] = []

    def turn(self, chat: int) -> int:
        """How many tokens of its earlier turns were found."""
        earlier = self.said.get(chat, [])
        prompt = [*(earlier or self.system), *[chat * 1000 + len(earlier)] * 7]
        chosen = choose(self.slots, prompt)
        found = common_prefix(self.slots[chosen.number].held, prompt)
        self.said[chat] = [*prompt, *[-chat] * 9]
        self.order.append(chat)
        self.slots[chosen.number] = Slot(
            number=chosen.number,
            held=self.said[chat],
            first_prompt=chosen.first_prompt,
            used=len(self.order),
        )
        return min(found, len(earlier))

    def between(self, chat: int) -> int:
        """How many other chats came since its last turn."""
        since = self.order[::-1]
        return len(set(since[: since.index(chat)]))


@given(
    slots=st.integers(1, 4),
    system=st.integers(0, 300),
    turns=st.lists(st.integers(1, 6), max_size=30),
)
def test_with_n_slots_a_chat_finds_all_of_itself_while_n_minus_1_others_came_between(
    slots: int, system: int, turns: list[int]
) -> None:
    chats = Chats(slots, list(range(5000, 5000 + system)))
    for chat in turns:
        earlier = len(chats.said.get(chat, []))
        keeps = chat in chats.said and chats.between(chat) <= slots - 1
        found = chats.turn(chat)
        assert found == earlier or not keeps


def test_chats_in_turn_keep_their_slots_and_a_system_prompt_is_computed_once_for_each() -> None:
    chats = Chats(4, SYSTEM)
    assert [chats.turn(chat) for chat in (1, 2, 3, 4)] == [0, 0, 0, 0]
    assert [chats.turn(chat) for chat in (1, 2, 3, 4)] == [116] * 4
    # A fifth finds the system prompt wherever it goes, and costs one of the others the rest.
    held = [common_prefix(one.held, SYSTEM) for one in chats.slots]
    assert held == [100] * 4


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [([], [], 0), ([1], [], 0), ([1, 2], [1, 2], 2), ([1, 2, 3], [1, 2], 2), ([1, 2], [1, 3], 1)],
)
def test_common_prefix(first: list[int], second: list[int], common: int) -> None:
    assert common_prefix(first, second) == common
