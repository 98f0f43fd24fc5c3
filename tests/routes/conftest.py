"""One server for all tests of a module that only ask: a native engine takes its time to load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from jan_server.app import create_app
from jan_server.settings import Settings
from tests.conftest import BASE_URL


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "jan"


@pytest.fixture(scope="module")
def shared_client(shared_folder: Path) -> Iterator[TestClient]:
    """The application in this process, as `client`."""
    settings = Settings(data_folder=shared_folder, fsync=False, watch="off")
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        yield client
