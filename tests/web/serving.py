"""A real Hypercorn on a loopback port of its own, for what only the wire shows."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.types import ASGIApp


@contextmanager
def served(app: ASGIApp) -> Iterator[tuple[str, int]]:
    """Its address; connections are accepted at once, since the socket listens already."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = 0.1
    config.errorlog = None
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    any_app: Any = app
    running = serve(any_app, config, shutdown_trigger=stop.wait)
    thread = threading.Thread(target=loop.run_until_complete, args=(running,))
    thread.start()
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def exchange(address: tuple[str, int], sent: bytes) -> bytes:
    """All that the server answers to these bytes, up to its closing the connection."""
    with socket.create_connection(address, timeout=60) as client:
        client.sendall(sent)
        return b"".join(iter(lambda: client.recv(65536), b""))
