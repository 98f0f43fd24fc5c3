"""The server that is killed: `python -m jan_server serve`, as a person starts it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

PATIENCE = 120.0
"""Seconds until a server that does not start, or does not answer, is a finding: the machine may do
much else."""

ADDRESS = "address: "


class VictimFailed(Exception):
    """The server does not start; its log says why."""


class Victim:
    """Serves `data` below a folder and writes its log beside it. Killed at the end of `with`."""

    def __init__(self, place: Path) -> None:
        self._log_path = place / "server.log"
        self._log = self._log_path.open("ab")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jan_server", "serve", "--port", "0"),
                *("--data-folder", str(place / "data")),
            ],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            # What the user set for their own server is not meant for this one.
            env={name: value for name, value in os.environ.items() if not name.startswith("JAN_")},
        )

    def wait(self) -> int:
        """The port, once it listens. Raises VictimFailed."""
        assert self._process.stdout is not None
        overdue = threading.Timer(PATIENCE, self._process.kill)
        overdue.start()
        try:
            line = self._process.stdout.readline()
        finally:
            overdue.cancel()
        if not line.startswith(ADDRESS):
            raise VictimFailed(f"The server does not start: see {self._log_path}.")
        return int(line.removeprefix(ADDRESS).split()[0].rpartition(":")[2])

    def kill_after(self, seconds: float) -> None:
        time.sleep(seconds)
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Victim:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()
