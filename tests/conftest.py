"""What several test files need. The one stand-in for a real model is the echo engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from jan_server.app import create_app
from jan_server.settings import Settings

# The Host header must be a local name.
BASE_URL = "http://127.0.0.1:1337"


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    return tmp_path / "jan"


@pytest.fixture
def write(data_folder: Path) -> Callable[..., Path]:
    """Put a file into the data folder as a person would: `write("threads/a/thread.json", {})`."""

    def put(name: str, content: Any) -> Path:
        path = data_folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return put


@pytest.fixture
def settings(data_folder: Path) -> Settings:
    return Settings(data_folder=data_folder, fsync=False)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """The application in this process."""
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        yield client


@pytest.fixture
def echo(write: Callable[..., Path]) -> str:
    """The id of a model that answers with the last user's message."""
    write("models/echo/model.json", {"engine": "echo", "settings": {"prompt_template": "{prompt}"}})
    return "echo"


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but our own, with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".jan_server" not in path.parts
    }
