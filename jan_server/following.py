"""`thread.json` follows its messages: last update, last message. Within a second, once for many."""

from __future__ import annotations

import asyncio
import logging

from jan_server.errors import JanError, NotFound
from jan_server.store import Store

log = logging.getLogger(__name__)

DELAY = 0.8
"""Seconds after the first of several messages."""

AT_ONCE = 2
"""Sixteen busy threads are due in the same moment: written all at once they hold up the messages
that come then (measured: the slowest hundredth of the appends took 40 ms instead of 29)."""


class Following:
    """Belongs to one event loop. `close` writes at once what is due."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._due: dict[str, asyncio.TimerHandle] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(AT_ONCE)

    def __repr__(self) -> str:
        return f"<Following {sorted(self._due)}>"

    def thread_changed(self, id: str) -> None:
        if id not in self._due:
            loop = asyncio.get_running_loop()
            self._due[id] = loop.call_later(DELAY, self._begin, id)

    async def close(self) -> None:
        for id, timer in list(self._due.items()):
            timer.cancel()
            self._begin(id)
        await asyncio.gather(*self._writing)

    def _begin(self, id: str) -> None:
        del self._due[id]
        task = asyncio.create_task(self._touch(id))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _touch(self, id: str) -> None:
        try:
            async with self._turns:
                await asyncio.to_thread(self._store.messages(id).touch)
        except NotFound:
            pass  # Deleted since.
        except JanError as error:
            log.warning("thread.json of %s does not show its last message: %s", id, error)
