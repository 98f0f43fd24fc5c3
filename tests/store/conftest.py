"""A data folder that each test may spoil."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jan_server.store import Store
from jan_server.store.files import Files
from jan_server.store.signature import Signature


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with two threads, as a person would write them by hand."""
    folder = tmp_path / "data"
    Store(folder, fsync=False).open()
    write(folder / "threads/one/thread.json", '{"title": "One"}')
    write(folder / "threads/one/messages.jsonl", '{"id":"a","role":"user","content":"hi"}\n')
    write(folder / "threads/two/thread.json", '{"title": "Two"}')
    write(folder / "assistants/jan/assistant.json", '{"id": "jan", "name": "Jan"}')
    return folder


@pytest.fixture
def store(root: Path) -> Store:
    return Store(root, fsync=False).open()


def write(path: Path, data: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


class CountingFiles(Files):
    """Counts the bytes that are read of messages."""

    def __init__(self, system: Any = None) -> None:
        super().__init__(fsync=False, system=system)
        self.bytes_read = 0

    def read_from(self, path: Path, start: int) -> tuple[bytes, Signature]:
        raw, signature = super().read_from(path, start)
        self.bytes_read += len(raw) if path.name == "messages.jsonl" else 0
        return raw, signature


def until(is_so: Callable[[], bool], *, seconds: float = 60) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)
