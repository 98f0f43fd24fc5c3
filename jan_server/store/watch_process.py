"""The child that watches, as the server sees it: started, heard, ended."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("watch_child.py")

STEP_MS = 10
"""How long nothing may change before a batch is told. watchfiles looks once in a step, so a change
is told after one to two of them: measured p95 10 ms with 5, 20 ms with 10, 39 ms with 20. It also
wakes up once in a step: 10 costs half a percent of a core."""

DEBOUNCE_MS = 200
"""How long a batch grows at most while changes keep coming."""

END_SECONDS = 2.0


class WatchProcess:
    """Runs from the start on; whoever made it must `close` it.

    `told` is called in a thread of its own, with the kind of each message and what it holds, as
    `watch_child.py` says them; at the end with `ended` and the exit code. Raises OSError when no
    process can be started.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        *,
        skip: Sequence[str],
        polling: bool,
        told: Callable[[str, list[Any]], None],
    ) -> None:
        config = {
            "roots": [str(root) for root in roots],
            "skip": list(skip),
            "polling": polling,
            "step": STEP_MS,
            "debounce": DEBOUNCE_MS,
        }
        # By its path: as a module it would import this whole package first. In a session of its
        # own: Ctrl-C is for the server, which then decides what ends.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM), json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._told = told
        self._reader = threading.Thread(target=self._read, name="watch-reader", daemon=True)
        self._reader.start()

    def __repr__(self) -> str:
        return f"<WatchProcess {self.pid}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        """End it. Nothing is told any more when this returns."""
        with self._process:  # Closes the pipes, and waits.
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith(b"\n"):  # Else it was killed half-way.
                kind, *rest = json.loads(line)
                self._told(kind, rest)
        self._told("ended", [self._process.wait()])
