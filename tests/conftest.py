"""What several test files need. The one stand-in for a real model is the echo engine."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from starlette.testclient import TestClient

from jan_server import catalogue
from jan_server.app import create_app
from jan_server.cli.pull import pull
from jan_server.models import FALLBACK_DEFAULT
from jan_server.settings import Settings

# A busy machine is no fault of the code: no example is timed.
hypothesis_settings.register_profile("untimed", deadline=None)
hypothesis_settings.load_profile("untimed")

# A run in the background may have been told to pass over Ctrl-C, and its children with it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Measured by coverage, a process takes three times as long to start. In these folders none is the
# subject: what engines' processes and watchers do is measured where they are.
UNMEASURED = {"clients", "completions", "downloads", "importing", "remote", "routes", "runs", "web"}

# The Host header must be a local name.
BASE_URL = "http://127.0.0.1:1337"


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Commands that run in this process set up logging for the whole of it."""
    loggers = [logging.getLogger(name) for name in (None, "httpx2")]
    before = [(logger, logger.level, [*logger.handlers]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture(autouse=True, scope="module")
def measured_processes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whether coverage goes along into processes that the tests of a module start."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name in UNMEASURED:
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


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
    """Without a watcher: lists look at the whole folder each time."""
    return Settings(data_folder=data_folder, fsync=False, watch="off")


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


@pytest.fixture(scope="session")
def smollm2_folder(pytestconfig: pytest.Config) -> Path:
    """A data folder with the default model, got once as `pull` does and kept in pytest's cache."""
    folder = pytestconfig.cache.mkdir("data-folder")
    manifest = folder / "models" / FALLBACK_DEFAULT / "model.json"
    manifest.unlink(missing_ok=True)
    pull(FALLBACK_DEFAULT, Settings(data_folder=folder))
    manifest.write_text(json.dumps(catalogue.get(FALLBACK_DEFAULT)))
    return folder


@pytest.fixture(scope="session")
def smollm2_path(smollm2_folder: Path) -> Path:
    """The default model's weights."""
    [path] = (smollm2_folder / "models" / FALLBACK_DEFAULT).glob("*.gguf")
    return path


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip takes packages from, whatever the user of this machine configured."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    links = tmp_path_factory.mktemp("links")
    settings = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_CACHE_DIR": "1",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(links),
        "PIP_RETRIES": "0",
        "NO_PROXY": "*",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return links


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but our own, with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".jan_server" not in path.parts
    }
