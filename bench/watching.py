"""A client of `GET /v1/events` that only looks for what it waits for."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable

from bench.served import PATIENCE
from bench.wire import OK, get

HEARING = 0.3
"""Seconds after which an edit that nobody told of is made again, before the first was heard."""


class Unheard(Exception):
    """The event did not come, or there are none to be had."""


class Watch:
    """An open stream of events. It holds what came since the last wait."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(get("/v1/events"))
        self._received = b""

    def close(self) -> None:
        self._socket.close()

    def settle(self, edit: Callable[[int], bytes]) -> None:
        """Edit until one is told of: the stream is open then, and the folder watched.

        `edit` is given a number, and gives what its event holds. Raises Unheard.
        """
        begun = time.perf_counter()
        for number in itertools.count():
            marker = edit(number)
            try:
                self.wait(marker, seconds=HEARING)
            except Unheard:
                if time.perf_counter() - begun > PATIENCE or not self._is_open():
                    raise
            else:
                return

    def wait(self, marker: bytes, *, seconds: float = PATIENCE) -> float:
        """When the event with these bytes was there. Raises Unheard."""
        until = time.perf_counter() + seconds
        received = self._received
        while marker not in received:
            self._socket.settimeout(max(until - time.perf_counter(), 0.001))
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                raise Unheard(f"no event with {marker.decode()!r} in {seconds:g} s") from None
            received += data
            self._received = received
            if not data or not self._is_open():
                raise Unheard(f"GET /v1/events answered {received[:40].decode(errors='replace')!r}")
        heard = time.perf_counter()
        # What is open stays known to be open.
        self._received = received[: len(OK)]
        return heard

    def _is_open(self) -> bool:
        return self._received[: len(OK)] in (b"", OK)
