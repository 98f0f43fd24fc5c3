"""Which slot answers a prompt: pure.

A slot holds the tokens of its last prompt and answer, and what a new prompt has in common with
their beginning need not be computed again. But the rest is overwritten, and with it what another
chat comes back for. So what counts is not how much is in common, but whether it is the same chat:

1. A prompt goes to the slot of its own chat: one with which it shares all of the first prompt that
   this chat had there. Another chat shares the system prompt with it, but not the first message.
   Of several such slots it takes the one that spares it most.
2. Else it goes to the slot that was used longest ago.

So with n slots a chat keeps what it computed while at most n - 1 other chats came between, also
when all of them begin with the same system prompt, however long. What that costs is bounded: a
common beginning is computed once for each slot, and then found in whichever is used longest ago. A
slot given away for a long common beginning would cost both chats again and again, with another
slot idle.

Not told apart are two chats with the same system prompt and the same first message: the second one
takes the slot of the first, as an answer that is asked for once more should.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

# What templates put before an answer and take away from it later: at most `<think>`, a line's end,
# `</think>` and another, which is less than even the message "hi" has around it.
_TAKEN_BACK = 4
_SMALL_PART = 8


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """An idle slot. `first_prompt` are the tokens of its chat's first prompt there; 0: of no chat.

    `used` rises from use to use; 0 is a slot that holds nothing worth keeping.
    """

    number: int
    held: Sequence[int] = ()
    first_prompt: int = 0
    used: int = 0


class Chosen(msgspec.Struct, frozen=True):
    """The slot's number, and its `first_prompt` from now on."""

    number: int
    first_prompt: int


def choose(idle: Sequence[Slot], prompt: Sequence[int]) -> Chosen:
    """One of these slots, of which there is at least one."""
    shared = {slot.number: common_prefix(slot.held, prompt) for slot in idle}
    own = [slot for slot in idle if _is_of_one_chat(slot, shared[slot.number])]
    if own:
        slot = min(own, key=lambda slot: (-shared[slot.number], slot.used))
        return Chosen(slot.number, slot.first_prompt)
    return Chosen(min(idle, key=lambda slot: slot.used).number, len(prompt))


def _is_of_one_chat(slot: Slot, shared: int) -> bool:
    # Of a first prompt that was cancelled there is only a part.
    first = min(slot.first_prompt, len(slot.held))
    return 0 < first <= shared + min(_TAKEN_BACK, first // _SMALL_PART)


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens the two begin with in common."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))
