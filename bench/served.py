"""A real server in a process of its own, and a client that adds as little as it can."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

from bench.subject import Answer, Question, Subject

PATIENCE = 30.0
"""Seconds until a server that does not answer is given up."""


class Server:
    """`python -m jan_server serve` on a free loopback port."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.port = _free_port()
        self.begun = time.perf_counter()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jan_server", "serve", "--port", str(self.port)),
                *("--data-folder", str(subject.data_folder)),
            ],
            stdout=subprocess.DEVNULL,
        )

    def wait(self) -> float:
        """Seconds from the start of the process to the answer of its first request."""
        while time.perf_counter() - self.begun < PATIENCE:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended with exit code {self._process.returncode}")
            try:
                connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
                connection.request("GET", "/healthz")
                response = connection.getresponse()
            except ConnectionRefusedError:
                time.sleep(0.002)
                continue
            elapsed = time.perf_counter() - self.begun
            response.read()
            connection.close()
            if response.status != 200:
                raise RuntimeError(f"/healthz answered {response.status}")
            return elapsed
        raise TimeoutError("the server does not listen")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)

    def connect(self) -> HTTPConnection:
        """A connection that is kept; small writes go out at once, as those of any client today."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def answer(self, connection: HTTPConnection, question: Question) -> Answer:
        """Ask for a stream and note when text arrives."""
        body = json.dumps(
            {
                "model": self._subject.model,
                "messages": question.messages(),
                "max_tokens": question.max_tokens,
                "temperature": 0,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        )
        times: list[float] = []
        texts: list[str] = []
        usage: dict[str, int] = {}
        begun = time.perf_counter()
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", body, headers)
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {response.read().decode()}")
        for line in iter(response.readline, b""):
            arrived = time.perf_counter()
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            if "error" in chunk:
                raise RuntimeError(chunk["error"]["message"])
            usage = chunk.get("usage") or usage
            for choice in chunk["choices"]:
                if text := choice["delta"].get("content"):
                    times.append(arrived)
                    texts.append(text)
        return Answer(
            text="".join(texts),
            prompt_tokens=usage["prompt_tokens"],
            tokens=usage["completion_tokens"],
            begun=begun,
            first=times[0],
            last=times[-1],
        )


@contextmanager
def serving(subject: Subject) -> Iterator[Server]:
    """A server that listens, ended at the end."""
    server = Server(subject)
    try:
        server.wait()
        yield server
    finally:
        server.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
