"""Servers in processes of their own, on free loopback ports: ours, and the bare one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

PATIENCE = 30.0
"""Seconds until a server that does not answer is given up."""

PYTHON = (sys.executable, "-m")


class Server:
    """`COMMAND ... --port PORT`, begun.

    `health` is a path that answers 200 as soon as the server is ready, and 503 before.
    """

    def __init__(self, *command: str, health: str = "/healthz") -> None:
        self._health = health
        self.port = _free_port()
        self.begun = time.perf_counter()
        self._process = subprocess.Popen(
            [*command, "--port", str(self.port)], stdout=subprocess.DEVNULL
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu(self) -> float | None:
        """Seconds of processor time that it has taken; None where the system does not say."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        # The name before may hold anything: fields are counted from its closing bracket.
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def wait(self) -> float:
        """Seconds from the start of the process to the answer of its first request."""
        while time.perf_counter() - self.begun < PATIENCE:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended with exit code {self._process.returncode}")
            try:
                connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
                connection.request("GET", self._health)
                response = connection.getresponse()
            except ConnectionRefusedError:
                time.sleep(0.002)
                continue
            elapsed = time.perf_counter() - self.begun
            response.read()
            connection.close()
            if response.status == 503:
                time.sleep(0.002)
                continue
            if response.status != 200:
                raise RuntimeError(f"{self._health} answered {response.status}")
            return elapsed
        raise TimeoutError("the server does not listen")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)


def jan(data_folder: Path, *options: str, under: Sequence[str] = ()) -> Server:
    """The server that is measured; `under` is a command that runs it."""
    command = ("jan_server", "serve", "--data-folder", str(data_folder), *options)
    return Server(*under, *PYTHON, *command)


@contextmanager
def serving(data_folder: Path, *options: str, under: Sequence[str] = ()) -> Iterator[Server]:
    """Ours, listening; ended at the end."""
    with _listening(jan(data_folder, *options, under=under)) as server:
        yield server


@contextmanager
def serving_bare(body: bytes) -> Iterator[Server]:
    """The bare one, which answers everything with `body`."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(body)
        file.flush()
        with _listening(Server(*PYTHON, "bench.bare", "--body", file.name)) as server:
            yield server


@contextmanager
def listening_of(*command: str, health: str) -> Iterator[Server]:
    """Another one; ended at the end."""
    with _listening(Server(*command, health=health)) as server:
        yield server


@contextmanager
def _listening(server: Server) -> Iterator[Server]:
    try:
        server.wait()
        yield server
    finally:
        server.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
