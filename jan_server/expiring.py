"""The trash is emptied of what is over, at the start and once a day."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from jan_server.errors import JanError
from jan_server.store.expiry import DAY

log = logging.getLogger(__name__)


class Expiring:
    """Calls `expire` in a thread. Belongs to one event loop; who starts it closes it.

    What it raises is logged, and it is called again the next day: the data folder may be away.
    """

    def __init__(self, expire: Callable[[], None], *, every: float = DAY) -> None:
        self._expire = expire
        self._every = every
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Expiring {'started' if self._task else 'not started'}>"

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """What is being removed in this moment goes on to its end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._expire)
            except JanError as error:
                log.warning("the trash is not emptied today: %s", error)
            await asyncio.sleep(self._every)
