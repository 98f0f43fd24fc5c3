from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import file_download

from jan_server.downloads import DownloadProgress, Order, Session, Workshop, download
from jan_server.downloads.records import DownloadRecord
from jan_server.store.files import Files
from jan_server.store.locks import Locks
from tests.downloads.hub import Hub


class Place:
    """A data folder, the model `m` in it that is got, and what was reported of that."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "models" / "m"
        self.files_layer = Files(root=root)
        self.reports: list[DownloadProgress] = []
        self.verified: list[tuple[str, str]] = []
        self.stopped = threading.Event()
        self.waits: tuple[float, ...] = (0.0, 0.0)

    @property
    def workshop(self) -> Workshop:
        """A new one, as after a restart."""
        folder = self.root / ".jan_server"
        locks = Locks(folder / "locks")
        return Workshop(folder / "downloads", files=self.files_layer, locks=locks)

    def session(self, on_progress: Callable[[DownloadProgress], Any] | None = None) -> Session:
        return Session(
            on_progress=on_progress or self.reports.append,
            on_verified=lambda path, sha256: self.verified.append((path.name, sha256)),
            waits=self.waits,
        )

    def order(self, document: dict[str, Any]) -> Order:
        return Order(id="m", document=document, folder=self.folder)

    def get(
        self,
        document: dict[str, Any],
        on_progress: Callable[[DownloadProgress], Any] | None = None,
    ) -> Path:
        session = self.session(on_progress)
        return download(self.order(document), self.workshop, session, stopped=self.stopped)

    def record(self) -> DownloadRecord | None:
        return self.workshop.records.read("m")

    def kept(self) -> int | None:
        """How many bytes of the model are flushed, by its record."""
        record = self.record()
        return sum(file.on_disk for file in record.files) if record else None

    def files(self) -> dict[str, bytes]:
        """All there are, but for locks and our own folders."""
        paths = (path for path in self.root.rglob("*") if path.is_file())
        names = {str(path.relative_to(self.root)): path for path in paths}
        return {n: path.read_bytes() for n, path in names.items() if "locks" not in path.parts}

    def models(self) -> dict[str, bytes]:
        return {n: data for n, data in self.files().items() if n.startswith("models/")}

    def phases(self) -> list[str]:
        return list(dict.fromkeys(report.phase for report in self.reports))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "models").mkdir()
    return Place(tmp_path)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    # http_get sleeps a second before each of five tries of its own.
    monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda _seconds: None))
    yield hub
    hub.close()
