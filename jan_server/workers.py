"""Work that is done in another thread, which nothing can stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def to_its_end(work: Callable[[], None]) -> None:
    """Do it in a worker thread; when the caller is cancelled its end is waited for all the same."""
    working = asyncio.create_task(asyncio.to_thread(work))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        raise
