"""The downloads that run in this process: at most one for each model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from jan_server.downloads.fetch import download
from jan_server.downloads.progress import DownloadProgress, OnProgress
from jan_server.errors import DownloadFailed, DownloadStopped, JanError, ShuttingDown

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that `close` waits for the threads. They are daemons: a stalled one ends with us."""


class Downloads:
    """Starts downloads in threads and knows how far they are. `close` stops them all.

    `on_progress` is told about each step, in the thread of the download.
    """

    def __init__(self, work_folder: Path, *, on_progress: OnProgress = lambda _: None) -> None:
        self._work_folder = work_folder
        self._on_progress = on_progress
        self._lock = Lock()
        self._running: dict[str, Thread] = {}
        self._states: dict[str, DownloadProgress] = {}
        self._failures: dict[str, JanError] = {}
        self._stopped = Event()

    def __repr__(self) -> str:
        return f"<Downloads {sorted(self._running)}>"

    def start(self, id: str, document: Mapping[str, Any], *, folder: Path) -> bool:
        """Get a model into its folder. False when that is under way already."""
        with self._lock:
            if self._stopped.is_set():
                raise ShuttingDown("The server is shutting down: no download is started.")
            if id in self._running:
                return False
            self._failures.pop(id, None)
            self._states[id] = DownloadProgress(id=id, file="", phase="downloading")
            thread = Thread(
                target=self._run, args=(id, document, folder), name=f"download {id}", daemon=True
            )
            self._running[id] = thread
        thread.start()
        return True

    def state(self, id: str) -> DownloadProgress | None:
        """How far a running download is; None when there is none."""
        with self._lock:
            return self._states.get(id)

    def failure(self, id: str) -> JanError | None:
        """Why the last download of a model failed; None when it did not."""
        with self._lock:
            return self._failures.get(id)

    def wait(self, id: str, timeout: float | None = None) -> None:
        """Return when no download of that model runs."""
        with self._lock:
            thread = self._running.get(id)
        if thread is not None:
            thread.join(timeout)

    def close(self) -> None:
        """Stop what runs; what it wrote is removed. Nothing can be started afterwards."""
        with self._lock:
            self._stopped.set()
            threads = list(self._running.values())
        for thread in threads:
            thread.join(PATIENCE)

    def _run(self, id: str, document: Mapping[str, Any], folder: Path) -> None:
        try:
            path = download(
                document,
                folder=folder,
                work_folder=self._work_folder,
                on_progress=lambda progress: self._note(id, progress),
                stopped=self._stopped,
            )
        except DownloadStopped:
            logger.info("Download of %s: stopped", id)
        except JanError as error:
            self._fail(id, error)
        except Exception as error:  # noqa: BLE001 - a damaged package, a folder that went away
            self._fail(id, DownloadFailed(f"It failed: {type(error).__name__}: {error}"))
        else:
            logger.info("Download of %s: done, %s", id, path)
        finally:
            with self._lock:
                self._running.pop(id)
                self._states.pop(id)

    def _fail(self, id: str, error: JanError) -> None:
        logger.error("Download of %s: %s", id, error.message)
        with self._lock:
            self._failures[id] = error

    def _note(self, id: str, progress: DownloadProgress) -> None:
        with self._lock:
            self._states[id] = progress
        self._on_progress(progress)
