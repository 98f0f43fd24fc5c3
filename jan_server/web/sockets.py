"""WebSockets that say nothing: for clients that need one to be open, and count its end as trouble.

What such a client sends is read and passed over.
"""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import Receive, Send

from jan_server.web.responses import end_tasks

GOING_AWAY = 1001  # RFC 6455, 7.4.1: the server is shutting down.


async def stay_silent(receive: Receive, send: Send, *, closing: asyncio.Event) -> None:
    """Accept, and stay open until the client leaves or `closing` is set."""
    await send({"type": "websocket.accept"})
    leaving = asyncio.create_task(_left(receive))
    ending = asyncio.create_task(closing.wait())
    try:
        await asyncio.wait({leaving, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not leaving.done():
            with contextlib.suppress(OSError):  # It leaves this moment.
                await send({"type": "websocket.close", "code": GOING_AWAY})
    finally:
        await end_tasks(leaving, ending)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass
