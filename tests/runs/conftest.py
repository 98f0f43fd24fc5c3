"""What stands behind a server, without HTTP, on a folder with one thread."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from jan_server.runs import Runs
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.store import Store
from jan_server.store.files import Files
from tests import calling

Opening = Callable[..., AbstractAsyncContextManager[Runs]]


@pytest.fixture
def opened(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> Opening:
    """Opens the runs of one server; `words` are the user's in the thread `t`.

    `system` stands in for the operating system under the store.
    """
    calling.install(tmp_path / "engine", monkeypatch)
    calling.put_model(data_folder)
    write("assistants/bob/assistant.json", {"name": "Bob", "model": "calling"})
    write("threads/t/thread.json", {})

    @asynccontextmanager
    async def open_runs(
        words: str = "hello there",
        *,
        system: Any = None,
        load_patience: float = 60,
        **options: float,
    ) -> AsyncIterator[Runs]:
        line = {"id": "one", "role": "user", "content": words}
        write("threads/t/messages.jsonl", json.dumps(line) + "\n")
        settings = Settings(
            data_folder=data_folder, fsync=False, watch="off", load_patience=load_patience
        )
        services = Services(settings)
        services.start()
        runs = Runs(
            Store(data_folder, files=Files(system=system)) if system else services.store,
            services.completions.chats,
            default_assistant="bob",
            changed=lambda _id: None,
            **options,
        )
        try:
            yield runs
        finally:
            await runs.close()
            await services.close()

    return open_runs
