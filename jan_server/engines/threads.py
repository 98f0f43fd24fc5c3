"""A thread whose unexpected end is the process's.

The server then sees that the engine died, where it would otherwise wait for ever.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from jan_server.logs import frames

EXIT_CODE = 1


def start(name: str, target: Callable[..., None], *values: object) -> threading.Thread:
    """It does not keep the process from ending."""

    def run() -> None:
        try:
            target(*values)
        except BaseException as error:  # noqa: BLE001 - also SystemExit, which threads ignore
            print(frames(error), file=sys.stderr, flush=True)
            os._exit(EXIT_CODE)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
