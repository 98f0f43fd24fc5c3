"""Everything a route may use, opened in order and closed in the opposite one. No HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import msgspec

from jan_server import representations, structs
from jan_server.appending import Appending
from jan_server.completions import Completions
from jan_server.downloads import Downloads, Session, Workshop
from jan_server.engines.memory import default_budget
from jan_server.engines.pool import Pool
from jan_server.engines.process import EngineProcess
from jan_server.errors import DataFolderMissing, JanError
from jan_server.events import Event, Hub
from jan_server.expiring import Expiring
from jan_server.following import Following
from jan_server.getting import Getting
from jan_server.importing import Importing
from jan_server.models import Models
from jan_server.remote import Remotes
from jan_server.removing import Removing
from jan_server.replying import Replying
from jan_server.responses import Responses
from jan_server.runs import Runs
from jan_server.settings import Settings
from jan_server.store import Document, Store
from jan_server.store.formats import Generation, Times
from jan_server.store.views import Body
from jan_server.store.watcher import Watcher
from jan_server.types.download import Download


def _thread_body(document: Document, times: Times, filed: str) -> bytes:
    return msgspec.json.encode(
        representations.thread(
            document.value, id=document.id, created_at=times.created, folder=filed
        )
    )


def _assistant_body(document: Document, times: Times, _filed: str) -> bytes:
    return msgspec.json.encode(
        representations.assistant(document.value, id=document.id, created_at=times.created)
    )


BODIES: dict[str, Body] = {"thread": _thread_body, "assistant": _assistant_body}
"""What the index keeps for lists."""

GENERATIONS: dict[str, Generation | None] = {"auto": None, "jan-0.4": "A", "jan-today": "C"}
"""Of the setting `new-files`."""

WORKERS = 32
"""Python's own choice is six on two cores: so few changes that wait for a lock which another
program holds would keep everybody from reading."""


def _pool(settings: Settings) -> Pool:
    return Pool(
        partial(EngineProcess.start, stall_patience=settings.stall_patience),
        load_patience=settings.load_patience,
        keep_alive=settings.keep_alive,
        max_queue=settings.max_queue,
        memory_budget=settings.memory_budget or default_budget(),
    )


class Services:
    """Opening touches the disk and starts nothing; `close` ends what was started since.

    Raises SettingsInvalid when the data folder cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.events = Hub()
        self.store = Store(
            settings.data_folder,
            fsync=settings.flushes,
            publish=self.events.publish,
            bodies=BODIES,
            read_only=settings.read_only,
            generation=GENERATIONS[settings.new_files],
        ).open()
        self.watcher = Watcher(
            self.store.watched_folders,
            look=self.store.look,
            look_everywhere=self.store.look_everywhere,
            polling=settings.watch == "polling",
        )
        self.downloads = Downloads(
            Workshop(
                self.store.work_path("downloads"),
                files=self.store.own_files,
                locks=self.store.locks,
            ),
            Session(on_verified=self._note_weights),
            on_change=self._tell_download,
            at_once=settings.max_downloads,
        )
        self.pool = _pool(settings)
        self.models = Models(settings, self.store, pool=self.pool, downloads=self.downloads)
        self.getting = Getting(self.store, models=self.models, downloads=self.downloads)
        self.removing = Removing(
            settings,
            self.store,
            models=self.models,
            pool=self.pool,
            drop_download=self.getting.stop,
        )
        self.importing = Importing(settings, self.store, models=self.models)
        self.remotes = Remotes(patience=settings.remote_patience)
        self.completions = Completions(self.models, self.pool, self.remotes)
        self.appending = Appending(self.store)
        self.following = Following(self.store)
        self.runs = Runs(
            self.store,
            self.completions.chats,
            default_assistant=settings.default_assistant,
            changed=self.following.thread_changed,
        )
        self.replying = Replying(self.store, self.runs, self.events)
        self.responses = Responses(
            self.store,
            self.completions.chats,
            default_assistant=settings.default_assistant,
            changed=self.following.thread_changed,
        )
        self.expiring = Expiring(partial(self.store.expire, days=settings.trash_days))
        self.closing = asyncio.Event()

    def start(self) -> None:
        """Begin to read the data folder, to watch it and to empty its trash, in the background.

        Called on the event loop, which gets its workers here.
        """
        structs.make_ready()
        workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="worker")
        asyncio.get_running_loop().set_default_executor(workers)
        if not self.settings.read_only:
            self.expiring.start()
            resume = self.getting.resume
            threading.Thread(target=resume, name="resume downloads", daemon=True).start()
        if self.settings.watch != "off":
            self.store.keep()
            self.watcher.start()
            threading.Thread(target=self._read_folder, name="first scan", daemon=True).start()
            if not self.settings.read_only:
                self.replying.start()

    def describe_model(self) -> str:
        """For the start line: the default model and what would compute it."""
        id = self.models.default_id()
        try:
            return f"{id}, {self.models.describe(self.models.ready(id))}"
        except JanError as error:
            return f"{id} cannot answer yet: {error.message}"

    async def drain(self, seconds: float) -> None:
        """Refuse new chats, let running answers end, for so long at most; end open streams."""
        await self.replying.close()
        await asyncio.gather(
            self.pool.drain(seconds), self.remotes.drain(seconds), self.runs.drain(seconds)
        )
        self.closing.set()

    async def close(self) -> None:
        """Streams and answers that still run end with ShuttingDown."""
        self.closing.set()
        self.importing.close()
        await self.replying.close()
        await self.runs.close()
        await self.pool.close()
        await self.remotes.close()
        await self.expiring.close()
        await asyncio.to_thread(self.downloads.close)
        await self.appending.close()
        await self.following.close()
        await asyncio.to_thread(self.store.close)
        await asyncio.to_thread(self.watcher.close)
        self.events.close()

    def _note_weights(self, path: Path, sha256: str) -> None:
        self.store.sums.record(path, sha256)
        self.store.look([path])

    def _tell_download(self, download: Download) -> None:
        self.events.publish(
            Event(
                kind="download",
                id=download.id,
                change="created" if download.state == "queued" else "updated",
                cause="api",
                resource=download,
            )
        )

    def _read_folder(self) -> None:
        """What fails here is found again by the watcher, and by whoever asks for a list."""
        with contextlib.suppress(DataFolderMissing):
            self.store.look_everywhere()
