"""One model is got by one process at a time; who wants it too follows, and ends the same way."""

from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Event

import msgspec

from jan_server.downloads import publish
from jan_server.downloads.fetch import Order, Session, download
from jan_server.downloads.progress import DownloadProgress, OnProgress
from jan_server.downloads.records import DownloadRecord
from jan_server.downloads.workshop import Workshop
from jan_server.errors import DownloadFailed, DownloadStopped
from jan_server.store.locks import Claim

POLL = 0.2
"""Seconds between two looks at what another process does."""


def get(order: Order, workshop: Workshop, session: Session, *, stopped: Event) -> Path:
    """As `download`, by us or by whoever is at it already. Raises as `follow` too."""
    claim = workshop.claim(order.id) or follow(order, workshop, session, stopped=stopped)
    try:
        return download(order, workshop, session, stopped=stopped)
    finally:
        claim.release(forget=True)


def follow(order: Order, workshop: Workshop, session: Session, *, stopped: Event) -> Claim:
    """Tell how far another process is, until it lets go: the claim, for `download`.

    That finds everything done, or goes on in the place of one that died. What the other failed with
    is raised here too, and when somebody stopped it, DownloadStopped.
    """
    tell = _Rate(session.on_progress)
    was_seen = False
    while (claim := workshop.claim(order.id)) is None:
        if record := workshop.records.read(order.id):
            was_seen = True
            tell(progress_of(record))
        if stopped.wait(POLL):
            raise DownloadStopped(f"{order.id} is still got by the process that began it.")
    try:
        _end_as_it_did(order, workshop.records.read(order.id), was_seen=was_seen)
    except BaseException:
        claim.release(forget=True)
        raise
    return claim


def progress_of(record: DownloadRecord) -> DownloadProgress:
    """How far a download is, by its record."""
    current = next((file for file in record.files if file.on_disk != file.size), None)
    sizes = [file.size for file in record.files]
    return DownloadProgress(
        id=record.id,
        file=current.filename if current else "",
        phase="queued" if record.status == "queued" else "downloading",
        bytes_done=sum(file.on_disk for file in record.files),
        bytes_total=None if None in sizes else sum(size or 0 for size in sizes),
    )


def _end_as_it_did(order: Order, record: DownloadRecord | None, *, was_seen: bool) -> None:
    """A record goes when the download is done, and when somebody dropped it."""
    if record is None and was_seen:
        targets = (order.folder / publish.file_name(source) for source in order.sources)
        if not all(map(os.path.lexists, targets)):
            raise DownloadStopped(f"The download of {order.id} was stopped.")
    elif record is not None and record.status == "failed":
        raise DownloadFailed(record.error or f"The download of {order.id} failed.")
    elif record is not None and record.status == "stopped":
        raise DownloadStopped(f"The download of {order.id} was stopped.")


class _Rate:
    """Works out the rate of what is only seen in steps."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._first: tuple[float, int] | None = None

    def __call__(self, progress: DownloadProgress) -> None:
        now = time.monotonic()
        began, start = self._first = self._first or (now, progress.bytes_done)
        elapsed = now - began
        rate = max(0, progress.bytes_done - start) / elapsed if elapsed else 0.0
        self._on_progress(msgspec.structs.replace(progress, rate=rate))
