"""One command to a child and what it says to it, kept until somebody reads it.

What is kept is bounded by the answer itself: at most `max_tokens` pieces, fewer than the context
holds. So a reader that stays away holds up neither the child nor those who read other answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Literal

from jan_server.engines import wire
from jan_server.engines.base import Accepted, Event, Started

Stage = Literal["alone", "arriving", "waiting", "at work"]

_STAGES: dict[type[Event], Stage] = {Accepted: "waiting", Started: "at work"}


class Conversation:
    """`id` is the command's; None for one that the child does alone, and says nothing meanwhile.

    `quiet` is how often somebody looked since the child last spoke of it, or had to (`must_speak`).
    `is_overdue`: it was cancelled, and the child does not confirm it in time.
    """

    def __init__(self, id: int | None) -> None:
        self.id = id
        self.stage: Stage = "alone" if id is None else "arriving"
        self.quiet = 0
        self.is_overdue = False
        self.ended = asyncio.Event()
        self._replies: asyncio.Queue[wire.Reply | None] = asyncio.Queue()
        self._is_abandoned = False

    def __repr__(self) -> str:
        return f"<Conversation {self.id} {self.stage}, quiet for {self.quiet} looks>"

    def hear(self, reply: wire.Reply) -> None:
        self.quiet = 0
        if isinstance(reply, wire.Emitted):
            self.stage = _STAGES.get(type(reply.event), self.stage)
        else:
            self.ended.set()
        if not self._is_abandoned:
            self._replies.put_nowait(reply)

    def lose(self) -> None:
        """The child is gone: nothing more comes."""
        self.ended.set()
        self._replies.put_nowait(None)

    def abandon(self) -> None:
        """Nobody reads it any more; only its end still matters."""
        self._is_abandoned = True

    async def next(self) -> wire.Reply | None:
        """The next reply; None when the child is gone. Cancelling it loses none."""
        return await self._replies.get()


def must_speak(
    conversations: Collection[Conversation], *, slots: int, works: bool = False
) -> Collection[Conversation]:
    """Those, given as they were begun, of which a child that works will say something.

    `works` tells that it is seen to do something.

    1. Of those that arrive the first: the child tokenises one after the other.
    2. Those that wait, while fewer are at work than there are slots: one of them has its turn,
       though not yet said so. Its slot may still be busy with what an answer left behind.
    3. All that are at work.
    4. What it does alone, unless it is seen to work: that may take as long as it takes.
    """
    alone = [one for one in conversations if one.stage == "alone" and not works]
    arriving = [one for one in conversations if one.stage == "arriving"]
    waiting = [one for one in conversations if one.stage == "waiting"]
    at_work = [one for one in conversations if one.stage == "at work"]
    return [*alone, *arriving[:1], *(waiting if len(at_work) < slots else ()), *at_work]


def look(conversations: Collection[Conversation], *, slots: int, works: bool = False) -> int:
    """How many looks, this one too, the one is quiet that has been so longest and must speak."""
    speaking = must_speak(conversations, slots=slots, works=works)
    for one in conversations:
        one.quiet = one.quiet + 1 if one in speaking else 0
    return max((one.quiet for one in speaking), default=0)
