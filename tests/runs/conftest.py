"""What stands behind a server, without HTTP, on a folder with one thread."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from jan_server.runs import Runs
from jan_server.services import Services
from jan_server.settings import Settings
from tests import calling

Opening = Callable[..., AbstractAsyncContextManager[Runs]]


@pytest.fixture
def opened(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> Opening:
    """Opens the runs of one server; `words` are the user's in the thread `t`."""
    calling.install(tmp_path / "engine", monkeypatch)
    calling.put_model(data_folder)
    write("assistants/bob/assistant.json", {"name": "Bob", "model": "calling"})
    write("threads/t/thread.json", {})

    @asynccontextmanager
    async def open_runs(words: str = "hello there", **options: float) -> AsyncIterator[Runs]:
        line = {"id": "one", "role": "user", "content": words}
        write("threads/t/messages.jsonl", json.dumps(line) + "\n")
        services = Services(Settings(data_folder=data_folder, fsync=False, watch="off"))
        services.start()
        runs = Runs(
            services.store,
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
