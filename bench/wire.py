"""A client that adds as little as it can: raw sockets that are kept, all driven by one loop."""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from statistics import median, quantiles

from msgspec import Struct

from bench.served import PATIENCE

OK = b"HTTP/1.1 200"
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
BUFFER = 64 * 1024


class Round(Struct, frozen=True):
    """Seconds that each answer took, and that all took together."""

    times: list[float]
    seconds: float

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds

    @property
    def p50(self) -> float:
        return median(self.times)

    @property
    def p99(self) -> float:
        return quantiles(self.times, n=100, method="inclusive")[98]


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(path: str, body: bytes, *, method: str = "POST") -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection:
    """A connection that is kept for as long as the server keeps it (Hypercorn: 1,000 requests).

    Its answers have a Content-Length; one holds until the next is asked for.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.socket = self._open()
        self._buffer = memoryview(bytearray(BUFFER))
        self._filled = 0
        self._head = 0
        self._whole = 0
        self._is_last = False
        self.sent = 0.0

    def close(self) -> None:
        self.socket.close()

    def _open(self) -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self._port), PATIENCE)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened

    def renew(self) -> None:
        """Connect anew when the server has said that it ends the connection."""
        if self._is_last:
            self._is_last = False
            self.socket.close()
            self.socket = self._open()

    def send(self, request: bytes) -> None:
        self._filled = self._whole = 0
        self.sent = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Take what is there; whether the answer is whole."""
        count = self.socket.recv_into(self._buffer[self._filled :])
        if not count:
            raise RuntimeError("the server closed the connection")
        self._filled += count
        if not self._whole:
            self._read_head()
        return bool(self._whole) and self._filled >= self._whole

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body."""
        self.renew()
        self.send(request)
        while not self.receive():
            pass
        return int(self._buffer[9:12]), bytes(self._buffer[self._head : self._whole])

    def time(self, request: bytes) -> float:
        """Seconds until the whole of a good answer is there."""
        self.renew()
        self.send(request)
        while not self.receive():
            pass
        elapsed = time.perf_counter() - self.sent
        self.check()
        return elapsed

    def check(self) -> None:
        """Raises RuntimeError when the answer that is there is none that was wanted."""
        if self._buffer[: len(OK)] != OK:
            raise RuntimeError(f"the server answered {bytes(self._buffer[: self._whole])[:2000]!r}")

    def _read_head(self) -> None:
        start = bytes(self._buffer[: min(self._filled, BUFFER)])
        end = start.find(b"\r\n\r\n")
        if end < 0:
            return
        found = LENGTH.search(start, 0, end)
        if found is None:
            raise RuntimeError(f"an answer without a length: {start[:end]!r}")
        self._is_last = CLOSES.search(start, 0, end) is not None
        self._head = end + 4
        self._whole = self._head + int(found[1])
        if self._whole > len(self._buffer):
            larger = memoryview(bytearray(self._whole + BUFFER))
            larger[: self._filled] = self._buffer[: self._filled]
            self._buffer = larger


class Client:
    """So many connections to one server, each sending its own requests in turn, again and again."""

    def __init__(self, port: int, requests: Sequence[Sequence[bytes]]) -> None:
        self._connections = [Connection(port) for _ in requests]
        self._requests: list[Iterator[bytes]] = [cycle(own) for own in requests]

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def run(self, seconds: float) -> Round:
        """Ask for so long; what has been asked then is still waited for."""
        times: list[float] = []
        with selectors.DefaultSelector() as selector:
            begun = time.perf_counter()
            for number in range(len(self._connections)):
                self._ask(number, selector)
            while selector.get_map():
                for key, _ in selector.select(PATIENCE) or self._give_up():
                    connection = self._connections[key.data]
                    if not connection.receive():
                        continue
                    now = time.perf_counter()
                    times.append(now - connection.sent)
                    connection.check()
                    selector.unregister(key.fileobj)
                    if now - begun < seconds:
                        self._ask(key.data, selector)
            return Round(times, time.perf_counter() - begun)

    def _ask(self, number: int, selector: selectors.BaseSelector) -> None:
        connection = self._connections[number]
        connection.renew()
        selector.register(connection.socket, selectors.EVENT_READ, number)
        connection.send(next(self._requests[number]))

    def _give_up(self) -> list[tuple[selectors.SelectorKey, int]]:
        raise TimeoutError("the server does not answer")
