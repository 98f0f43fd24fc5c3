"""Hypercorn: bind, announce, serve, drain.

The app never imports this. The socket is bound here, before anything else is opened, so that a
port in use is one clear line; a listening socket also queues the first requests while the app
starts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from typing import Any, cast

from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.typing import Framework
from starlette.applications import Starlette

from jan_server import presence
from jan_server.app import create_app
from jan_server.errors import SettingsInvalid
from jan_server.services import Services
from jan_server.settings import Settings

DRAIN_SECONDS = 10
BACKLOG = 1024
# A client that thinks for a minute between two requests keeps its connection.
KEEP_ALIVE_SECONDS = 75
# Hypercorn ends a connection after so many requests; a local server has no reason to.
REQUESTS_PER_CONNECTION = 2**31
INTERRUPTED = 130


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises SettingsInvalid when the address cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        # Python adds to the system's words what is said here anyway.
        reason = str(error.strerror or error).partition(" (while")[0]
        raise SettingsInvalid(
            f"Cannot listen on {host} port {port}: {reason}. "
            "Choose another with --port, or stop the program that uses it."
        ) from error


def address(sock: socket.socket) -> str:
    """Where to reach the API of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def local_address(sock: socket.socket) -> str:
    """`address` for this machine: who listens on all addresses is reached at its own."""
    return address(sock).replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def run(settings: Settings, *, folder_reason: str) -> None:
    """Serve until Ctrl-C or SIGTERM; a second one stops at once. Blocks.

    Prints one line each for address, data folder and model. Raises SettingsInvalid.
    """
    with bind(settings.host, settings.port) as sock:
        app = create_app(settings)
        services: Services = app.state.services
        # Before anybody is told: a command that comes at once is to find us.
        with presence.announced(services.store, local_address(sock)):
            print(f"address: {address(sock)} (Ctrl-C stops)", flush=True)
            why = f"{folder_reason}, read-only" if settings.read_only else folder_reason
            print(f"data folder: {settings.data_folder} ({why})", flush=True)
            print(f"model: {services.describe_model()}", flush=True)
            asyncio.run(_serve_until_signal(app, sock))


async def _serve_until_signal(app: Starlette, sock: socket.socket) -> None:
    stop = asyncio.Event()
    _on_signals(stop)
    await serve_until(stop, app, sock)


async def serve_until(stop: asyncio.Event, app: Starlette, sock: socket.socket) -> None:
    """Serve on a listening socket until `stop` is set, then let what runs end."""

    async def drained() -> None:
        # Hypercorn waits for open streams, on newer Pythons for ever: ours end before it is asked.
        await stop.wait()
        await app.state.services.drain(DRAIN_SECONDS)

    asyncio.get_running_loop().set_exception_handler(_tell_failure)
    await serve(cast(Framework, app), hypercorn_config(sock), shutdown_trigger=drained)


def _tell_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """As asyncio does, but for connections that Hypercorn cancels at the end: Python 3.11 asks each
    how it has failed, and meets the cancellation.
    """
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)


def _on_signals(stop: asyncio.Event) -> None:
    def handle() -> None:
        if stop.is_set():
            # Engine processes end by themselves when their pipe closes.
            os._exit(INTERRUPTED)
        stop.set()

    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(name, handle)
        except NotImplementedError:  # Windows
            signal.signal(name, lambda *_: loop.call_soon_threadsafe(handle))


def hypercorn_config(sock: socket.socket) -> Config:
    """How Hypercorn serves on a listening socket; whoever is compared with us takes the same."""
    config = Config()
    # Hypercorn closes the descriptor that it is given.
    config.bind = [f"fd://{os.dup(sock.fileno())}"]
    config.backlog = BACKLOG
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.keep_alive_max_requests = REQUESTS_PER_CONNECTION
    config.include_server_header = False
    config.accesslog = None
    # Its line about the address would be a second one.
    config.errorlog = logging.getLogger("hypercorn")
    config.errorlog.setLevel(logging.WARNING)
    return config
