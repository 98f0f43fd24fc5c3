"""Getting models: what a name means, what is to be got for it, starting, stopping, going on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from jan_server.downloads import DownloadProgress, Downloads, Order
from jan_server.downloads.records import DownloadRecord
from jan_server.downloads.references import Address, Reference, parse
from jan_server.errors import AlreadyExists, InvalidId, JanError, NotFound, ShuttingDown
from jan_server.models import KnownModel, Models
from jan_server.store import Store
from jan_server.types.model import Manifest

log = logging.getLogger(__name__)

OnProgress = Callable[[DownloadProgress], None]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A model that somebody names: `known` where a manifest knows it already."""

    id: str
    order: Order | None
    known: KnownModel | None = None


class Getting:
    """Gets models into the data folder. Holds nothing open."""

    def __init__(self, store: Store, *, models: Models, downloads: Downloads) -> None:
        self._store = store
        self._models = models
        self._downloads = downloads

    def find(self, name: str) -> Wanted:
        """What is meant by an id, an alias, or a name of `downloads.references`.

        Its `order` is None when it is here. Of the last it asks the hub. Raises ReadOnly, as
        Models.get and Models.address, AlreadyExists when another model has that id, and as
        references.choose and asking.requests.
        """
        self._store.check_writable()
        known, reference = self._known(name)
        if known is None:
            return self._referred(reference)
        if known.answers:
            return Wanted(id=known.id, order=None, known=known)
        self._models.address(known)
        return Wanted(id=known.id, order=self._order(known.id, known.value), known=known)

    def start(self, name: str) -> tuple[str, bool]:
        """Get a model in the background: its id, and False when it is here or on its way already.

        Raises as `find`, and ShuttingDown.
        """
        wanted = self.find(name)
        if wanted.order is None:
            return wanted.id, False
        self._make_room(wanted.order)
        return wanted.id, self._downloads.start(wanted.order)

    def get(self, order: Order, on_progress: OnProgress) -> Path:
        """Get a model now; the path of its weights. Raises as Downloads.get."""
        self._make_room(order)
        return self._downloads.get(order, on_progress)

    def stop(self, name: str) -> tuple[str, int]:
        """Stop one that runs, or drop what one that ended left: its id, how many bytes are free.

        Raises ReadOnly, as Models.get, NotFound when there is none, and DownloadElsewhere.
        """
        self._store.check_writable()
        model = self._models.get(name)
        return model.id, self._downloads.stop(self._order(model.id, model.value))

    def resume(self) -> None:
        """Go on with what ran, or waited, when the last server or `pull` ended."""
        self._downloads.sweep()
        for record in self._downloads.records():
            if record.is_unfinished:
                self._resume(record)

    def _resume(self, record: DownloadRecord) -> None:
        try:
            self._downloads.start(self._order(record.id, record.manifest))
        except ShuttingDown:
            return  # The next server finds it as this one did.
        except JanError as error:
            log.error("Download of %s cannot go on: %s", record.id, error.message)

    def _known(self, name: str) -> tuple[KnownModel | None, Reference | Address]:
        """Raises as `find`."""
        try:
            return self._models.get(name), Address(url="", sha256="")
        except (NotFound, InvalidId):
            reference = parse(name)
            if reference is None:
                raise
            return None, reference

    def _referred(self, reference: Reference | Address) -> Wanted:
        from jan_server.downloads.repositories import look_up  # 0.2 s, for those only

        id, manifest = look_up(reference)
        try:
            known = self._models.get(id)
        except NotFound:
            return Wanted(id=id, order=self._order(id, manifest))
        meant = Manifest.from_value(manifest).downloads()
        if {s.sha256 for s in meant} != {s.sha256 for s in known.manifest.downloads()}:
            raise AlreadyExists("model", id)
        order = None if known.answers else self._order(id, known.value)
        return Wanted(id=id, order=order, known=known)

    def _order(self, id: str, manifest: Any) -> Order:
        """Raises InvalidId, and LiesOutside."""
        return Order(id=id, document=manifest, folder=self._models.folder_of(id))

    def _make_room(self, order: Order) -> None:
        """Weights that wait in the trash give way to those that are to be got."""
        needed = sum((s.size or 0) + (s.download_size or 0) for s in order.sources)
        self._store.make_room(needed)
