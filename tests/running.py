"""Real servers for tests: Hypercorn in a thread, or the whole command in a process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from jan_server.app import create_app
from jan_server.presence import announced
from jan_server.server import address, bind, serve_until
from jan_server.settings import Settings

CHECKED: dict[str, Any] = {"api_key": "none", "_strict_response_validation": True}
"""For OpenAI's and Anthropic's clients: each answer must be of their own types, in all fields."""


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """The base URL of a server in a thread of this process, on a free port."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    with bind("127.0.0.1", 0) as sock, ExitStack() as opened:
        app = create_app(settings)
        opened.enter_context(announced(app.state.services.store, address(sock)))

        def run() -> None:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(serve_until(stop, app, sock))

        thread = threading.Thread(target=run, name="server")
        thread.start()
        try:
            yield address(sock)
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(60)
            assert not thread.is_alive(), "the server did not stop"


class Command:
    """`python -m jan_server ...` as a person starts it. `lines` are those it has printed."""

    def __init__(self, *arguments: str | Path, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jan_server", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.lines: list[str] = []

    def read_line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline().rstrip("\n")
        self.lines.append(line)
        return line

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
