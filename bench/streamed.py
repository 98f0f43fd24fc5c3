"""The chat client that adds as little as it can: a stream of tokens with the times they came at."""

from __future__ import annotations

import bisect
import json
import re
import socket
import time

from bench.served import PATIENCE
from bench.subject import Answer, Question

OK = b"HTTP/1.1 200"
# With the end of the chunk before it: a head may end with a 0, too.
LAST_CHUNK = b"\r\n0\r\n\r\n"
EVENT = re.compile(rb"data: ({.*})")

Arrival = tuple[int, float]
"""So many bytes in all were there at that time."""


class Client:
    """It notes when bytes arrive and understands them afterwards: on two busy cores, what a client
    does between two tokens is taken from the model. Each answer has a connection of its own, opened
    beforehand, since some servers end one that was not used for a while."""

    def __init__(self, port: int, model: str) -> None:
        self._port = port
        self._model = model
        self._socket = self._connected()

    def _connected(self) -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self._port), PATIENCE)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened

    def close(self) -> None:
        self._socket.close()

    def answer(self, question: Question) -> Answer:
        """Ask for a stream. Raises RuntimeError for an answer that is none."""
        request = self._request(question)
        self.close()
        self._socket = self._connected()
        begun = time.perf_counter()
        self._socket.sendall(request)
        received, arrivals = self._receive()
        return _understand(received, arrivals, begun)

    def begin(self, question: Question) -> None:
        """Ask, and leave the answer to come."""
        self._socket.sendall(self._request(question))

    def wait_for(self, text: bytes, *, times: int) -> None:
        """Until what has come of the answer holds it so often; it is taken from the answer."""
        received = b""
        while received.count(text) < times:
            data = self._socket.recv(65536)
            if not data:
                raise RuntimeError(f"the server answered {received.decode()!r}")
            received += data

    def _request(self, question: Question) -> bytes:
        body = json.dumps(
            {
                "model": self._model,
                "messages": question.messages(),
                "max_tokens": question.max_tokens,
                "temperature": question.temperature,
                "stream": True,
                "stream_options": {"include_usage": True},
                **({} if question.seed is None else {"seed": question.seed}),
                **question.more,
            }
        ).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _receive(self) -> tuple[bytes, list[Arrival]]:
        received = bytearray()
        arrivals: list[Arrival] = []
        while not received.endswith(LAST_CHUNK):
            data = self._socket.recv(65536)
            received += data
            arrivals.append((len(received), time.perf_counter()))
            if not data or not received.startswith(OK):
                raise RuntimeError(f"the server answered {received.decode()!r}")
        return bytes(received), arrivals


def _understand(received: bytes, arrivals: list[Arrival], begun: float) -> Answer:
    times: list[float] = []
    texts: list[str] = []
    usage: dict[str, int] = {}
    for event in EVENT.finditer(received):
        chunk = json.loads(event[1])
        if "error" in chunk:
            raise RuntimeError(chunk["error"]["message"])
        usage = chunk.get("usage") or usage
        text = "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
        if text:
            texts.append(text)
            times.append(arrivals[bisect.bisect_left(arrivals, (event.end(), 0.0))][1])
    return Answer(
        text="".join(texts),
        prompt_tokens=usage["prompt_tokens"],
        tokens=usage["completion_tokens"],
        begun=begun,
        first=times[0],
        last=times[-1],
    )
