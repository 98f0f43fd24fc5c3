"""What is told of a run while it is answered: OpenAI's event names, and what each is about.

Every listener hears all from the moment on that it came; who leaves is missed by nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import NamedTuple

from jan_server.store import Message
from jan_server.types.run import Step, StoredRun
from jan_server.types.tool import ToolCallDelta


class StepOf(NamedTuple):
    run: StoredRun
    step: Step


class TextAdded(NamedTuple):
    """A piece of a message."""

    message_id: str
    text: str


class CallsAdded(NamedTuple):
    """A piece of a step's calls."""

    step_id: str
    delta: ToolCallDelta


Told = StoredRun | StepOf | Message | TextAdded | CallsAdded


class RunEvent(NamedTuple):
    name: str
    about: Told


class Telling:
    """Belongs to one event loop. After `end` listeners have heard all, and nobody may come."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[RunEvent | None]] = set()

    def tell(self, name: str, about: Told) -> None:
        for listener in self._listeners:
            listener.put_nowait(RunEvent(name, about))

    def end(self) -> None:
        for listener in self._listeners:
            listener.put_nowait(None)

    def listen(self) -> AsyncGenerator[tuple[RunEvent, ...]]:
        """What is told from now on, not only from when it is first asked for.

        Each time all that has come meanwhile, at least one.
        """
        heard: asyncio.Queue[RunEvent | None] = asyncio.Queue()
        self._listeners.add(heard)
        return self._hear(heard)

    async def _hear(
        self, heard: asyncio.Queue[RunEvent | None]
    ) -> AsyncGenerator[tuple[RunEvent, ...]]:
        try:
            while (event := await heard.get()) is not None:
                told = [event]
                while not heard.empty() and (event := heard.get_nowait()) is not None:
                    told.append(event)
                yield tuple(told)
                if event is None:
                    return
        finally:
            self._listeners.discard(heard)
