"""A terminal with somebody at it: what is typed into a command, and what that shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

PATIENCE = 60.0
AGAIN_SECONDS = 5.0

# The child makes the terminal its own, so that Ctrl-C at it is a SIGINT. It needs no packages (-S).
_LAUNCH = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.executable, [sys.executable, '-m', 'jan_server', *sys.argv[1:]])"
)


class Terminal:
    """`python -m jan_server ...` as a person starts it. `shown` is all it has shown."""

    def __init__(
        self, *arguments: str | Path, columns: int = 80, env: dict[str, str] | None = None
    ) -> None:
        self._screen, keyboard = pty.openpty()
        fcntl.ioctl(keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", _LAUNCH, *map(str, arguments)],
            stdin=keyboard,
            stdout=keyboard,
            stderr=keyboard,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "", **(env or {})},
        )
        os.close(keyboard)
        self._raw = b""
        self._seen = 0

    @property
    def shown(self) -> str:
        """Without the signs by which readline asks for pastes to be marked."""
        text = self._raw.decode(errors="replace")
        return re.sub(r"\x1b\[\?2004[hl]\r?", "", text).replace("\r\n", "\n")

    def type(self, text: str) -> None:
        self.type_bytes(text.encode())

    def type_bytes(self, raw: bytes) -> None:
        os.write(self._screen, raw)

    def wait_for(self, text: str, *, again: str = "") -> str:
        """Read until it is shown, after what was waited for before; all that came till then.

        `again` is typed every few seconds meanwhile: Python does not hear a Ctrl-C at its prompt
        before the next key, when it comes in the very moment that the last one is handled.
        """
        end = time.monotonic() + PATIENCE
        while (at := self.shown.find(text, self._seen)) < 0:
            if again and not self._is_more_within(AGAIN_SECONDS):
                self.type(again)
            goes_on = time.monotonic() < end and self._read()
            assert goes_on, f"{text!r} is not in {self.shown!r}"
        before, self._seen = self._seen, at + len(text)
        return self.shown[before : self._seen]

    def wait_for_the_end(self) -> int:
        """Its exit code."""
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def _read(self) -> bool:
        """Whether there may be more."""
        try:
            more = os.read(self._screen, 65_536) if self._is_more_within(PATIENCE) else b""
        except OSError:  # Linux: nobody holds the other end any more.
            more = b""
        self._raw += more
        return bool(more)

    def _is_more_within(self, seconds: float) -> bool:
        return bool(select.select([self._screen], [], [], seconds)[0])

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._screen)
