"""The downloads that this server knows of: what waits, what runs, and how others ended."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import msgspec
from msgspec import UNSET

from jan_server.downloads import sharing
from jan_server.downloads.fetch import Order, Session, download, new_record
from jan_server.downloads.progress import DownloadProgress, OnProgress
from jan_server.downloads.records import DownloadRecord
from jan_server.downloads.workshop import Workshop
from jan_server.errors import DownloadElsewhere, DownloadStopped, JanError, NotFound, ShuttingDown
from jan_server.store.locks import Claim
from jan_server.types.download import Download, DownloadState

logger = logging.getLogger(__name__)

AT_ONCE = 2

PATIENCE = 15.0
"""Seconds that is waited for the end of a download: a server that says nothing is left after ten.
The threads are daemons: one that hangs ends with us."""

INTERVAL = 1.0
"""Seconds between two tellings of one download, if its state stays the same."""

OnChange = Callable[[Download], None]


class _Job:
    """One download of this process; `claim` is None while another process is at it."""

    def __init__(self, order: Order, claim: Claim | None) -> None:
        self.order = order
        self.claim = claim
        self.stopped = Event()
        self.ended = Event()
        self.has_begun = False
        self.is_discarded = False
        self.freed = 0
        self.shown = Download(id=order.id, state="queued")
        self.told = 0.0

    def release(self) -> None:
        if self.claim is not None:
            self.claim.release(forget=True)


class Downloads:
    """Starts downloads in threads, so many at once, and knows how far they are.

    `on_change` is told of each now and then, and of each new state. `close` stops them all; those
    that ran or waited go on when the next server starts.
    """

    def __init__(
        self,
        workshop: Workshop,
        session: Session | None = None,
        *,
        on_change: OnChange = lambda _: None,
        at_once: int = AT_ONCE,
    ) -> None:
        self._workshop = workshop
        self._session = msgspec.structs.replace(session or Session(), on_progress=self._note)
        self._on_change = on_change
        self._at_once = at_once
        self._lock = Lock()
        self._jobs: dict[str, _Job] = {}  # in the order in which they were asked for
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Downloads {sorted(self._jobs)}>"

    def start(self, order: Order) -> bool:
        """Get a model into its folder, when it is its turn. False when that is under way already.

        Raises ShuttingDown, and what writing a file does.
        """
        with self._lock:
            if self._is_closed:
                raise ShuttingDown("The server is shutting down: no download is started.")
            if order.id in self._jobs:
                return False
            job = _Job(order, self._workshop.claim(order.id))
            if job.claim is not None:
                self._write_queued(job)
            self._jobs[order.id] = job
        self._tell(job, job.shown)
        with self._lock:
            self._begin_next()
        return job.claim is not None

    def get(self, order: Order, on_progress: OnProgress) -> Path:
        """Get a model now, in this thread. Raises as sharing.get; Ctrl-C keeps what is there."""
        session = msgspec.structs.replace(self._session, on_progress=on_progress)
        return sharing.get(order, self._workshop, session, stopped=Event())

    def stop(self, order: Order) -> int:
        """Stop a download, or drop what one that ended left: how many bytes of files are freed.

        Raises NotFound when there is none, and DownloadElsewhere when another process is at it.
        """
        with self._lock:
            job = self._jobs.get(order.id)
            if job is not None and job.claim is not None:
                job.is_discarded = True
        if job is None:
            return self._discard(order)
        if not job.is_discarded:
            raise self._elsewhere(order.id)
        self._end(job)
        job.ended.wait(PATIENCE)
        return job.freed

    def look(self, id: str) -> Download | None:
        """A download that waits or runs, here or in another process, or that failed.

        None when there is none. Costs one `open`.
        """
        job = self._jobs.get(id)
        if job is not None:
            return job.shown
        record = self._workshop.records.read(id)
        if record is None:
            return None
        if record.status == "failed":
            return _shown(sharing.progress_of(record), "failed", error=record.error)
        if record.is_unfinished and self._workshop.is_claimed(id):
            return _shown(sharing.progress_of(record))
        return None

    def manifest(self, id: str) -> Mapping[str, Any] | None:
        """That of a model which is got, or was to be; None when nobody asked for it."""
        record = self._workshop.records.read(id)
        return record.manifest if record else None

    def records(self) -> list[DownloadRecord]:
        """All downloads that are not done, whatever they wait for."""
        return self._workshop.records.all()

    def sweep(self) -> None:
        """Remove files that nobody will go on with."""
        self._workshop.sweep()

    def wait(self, id: str, timeout: float | None = None) -> None:
        """Return when no download of that model waits or runs here."""
        job = self._jobs.get(id)
        if job is not None:
            job.ended.wait(timeout)

    def close(self) -> None:
        """Stop what runs; what it wrote stays. Nothing can be started afterwards."""
        with self._lock:
            self._is_closed = True
            jobs = list(self._jobs.values())
        for job in jobs:
            self._end(job)
        for job in jobs:
            job.ended.wait(PATIENCE)

    def _write_queued(self, job: _Job) -> None:
        try:
            old = self._workshop.records.read(job.order.id)
            self._workshop.records.write(new_record(job.order, "queued", old=old))
        except BaseException:
            job.release()
            raise

    def _begin_next(self) -> None:
        """Those whose turn it is. Who follows another process takes no turn. With the lock."""
        jobs = self._jobs.values()
        running = sum(job.has_begun and job.claim is not None for job in jobs)
        for job in jobs:
            if self._is_closed or job.has_begun:
                continue
            if job.claim is not None and running >= self._at_once:
                continue
            running += job.claim is not None
            job.has_begun = True
            name = f"download {job.order.id}"
            Thread(target=self._run, args=(job,), name=name, daemon=True).start()

    def _run(self, job: _Job) -> None:
        id = job.order.id
        state: DownloadState = "failed"
        try:
            path = self._get(job)
            state = "done"
            logger.info("Download of %s: done, %s", id, path)
        except DownloadStopped as error:
            state = "stopped"
            logger.info("Download of %s: %s", id, error.message)
        except JanError as error:
            job.shown = msgspec.structs.replace(job.shown, error=error.message)
            logger.error("Download of %s: %s", id, error.message)
        finally:
            self._leave(job, state)

    def _get(self, job: _Job) -> object:
        if job.claim is None:
            job.claim = sharing.follow(
                job.order, self._workshop, self._session, stopped=job.stopped
            )
        try:
            return download(job.order, self._workshop, self._session, stopped=job.stopped)
        except DownloadStopped:
            self._drop(job)
            raise
        finally:
            job.release()

    def _end(self, job: _Job) -> None:
        """Tell it to stop; one that has not begun is at its end."""
        job.stopped.set()
        with self._lock:
            waits = not job.has_begun
            job.has_begun = True
        if waits:
            self._drop(job)
            job.release()
            self._leave(job, "stopped")

    def _drop(self, job: _Job) -> None:
        if job.is_discarded:
            job.freed = self._workshop.discard(job.order.id, job.order.home)

    def _leave(self, job: _Job, state: DownloadState) -> None:
        with self._lock:
            self._jobs.pop(job.order.id, None)
            self._begin_next()
        job.ended.set()
        self._tell(job, msgspec.structs.replace(job.shown, state=state, rate=0.0))

    def _discard(self, order: Order) -> int:
        if self._workshop.records.read(order.id) is None:
            raise NotFound("download", order.id, hint="Nothing is to be stopped.")
        claim = self._workshop.claim(order.id)
        if claim is None:
            raise self._elsewhere(order.id)
        try:
            return self._workshop.discard(order.id, order.home)
        finally:
            claim.release(forget=True)

    def _elsewhere(self, id: str) -> DownloadElsewhere:
        record = self._workshop.records.read(id)
        return DownloadElsewhere(id, record.pid if record else os.getpid())

    def _note(self, progress: DownloadProgress) -> None:
        job = self._jobs.get(progress.id)
        if job is None:
            return
        shown = _shown(progress)
        if shown.state != job.shown.state or time.monotonic() - job.told >= INTERVAL:
            self._tell(job, shown)
        job.shown = shown

    def _tell(self, job: _Job, shown: Download) -> None:
        job.told = time.monotonic()
        job.shown = shown
        self._on_change(shown)


def _shown(
    progress: DownloadProgress, state: DownloadState | None = None, *, error: str | None = None
) -> Download:
    phase: DownloadState = "downloading" if progress.phase == "present" else progress.phase
    return Download(
        id=progress.id,
        state=state or phase,
        file=progress.file,
        bytes=progress.bytes_done,
        total=progress.bytes_total,
        rate=progress.rate,
        error=UNSET if error is None else error,
    )
