"""One command to a child and what it says to it, kept until somebody reads it.

What is kept is bounded by the answer itself: at most `max_tokens` pieces, fewer than the context
holds. So a reader that stays away holds up neither the child nor those who read other answers.
"""

from __future__ import annotations

import asyncio

from jan_server.engines import wire
from jan_server.engines.base import Queued, Started


class Conversation:
    """`id` is the command's; None for one that the child does alone: then it may take for ever.

    `heard_at` is when the child last spoke of it, on the event loop's clock. `is_overdue`: it was
    cancelled, and the child does not confirm it in time.
    """

    def __init__(self, id: int | None, now: float) -> None:
        self.id = id
        self.heard_at = now
        self.is_overdue = False
        self.ended = asyncio.Event()
        self._replies: asyncio.Queue[wire.Reply | None] = asyncio.Queue()
        self._waits_for_a_slot = False
        self._is_abandoned = False

    @property
    def must_speak(self) -> bool:
        """Whether silence means that the child hangs."""
        return self.id is not None and not self._waits_for_a_slot

    def hear(self, reply: wire.Reply, now: float) -> None:
        self.heard_at = now
        if not isinstance(reply, wire.Emitted):
            self.ended.set()
        elif isinstance(reply.event, Queued):
            self._waits_for_a_slot = True
        elif isinstance(reply.event, Started):
            self._waits_for_a_slot = False
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


def silent_since(conversations: list[Conversation]) -> float | None:
    """When the one was last heard of that has been silent longest, of those that must speak."""
    return min((c.heard_at for c in conversations if c.must_speak), default=None)
