"""Removing a model: it is unloaded, and its files are moved to the trash."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from jan_server import catalogue
from jan_server.engines.pool import Pool
from jan_server.errors import ModelNotDownloaded
from jan_server.models import KnownModel, Models, fitted
from jan_server.settings import Settings
from jan_server.store import Store
from jan_server.store.weights import is_gguf
from jan_server.types.model import DeletedModel, WeightsFate


class Removing:
    """Removes models. Holds nothing open."""

    def __init__(self, settings: Settings, store: Store, *, models: Models, pool: Pool) -> None:
        self._settings = settings
        self._store = store
        self._models = models
        self._pool = pool

    async def remove(
        self, id: str, *, now: bool = False, condition: Callable[[str], None] = lambda _etag: None
    ) -> DeletedModel:
        """Unload a model and move it to the trash; with `now` its disk space is free at once.

        The manifest goes only when the catalogue does not carry the model. Weights that lie
        outside the model's folder are not ours to move. `condition` is called with the model's
        ETag before anything else is done. Raises as it does and as Models.get, ModelNotDownloaded
        when there is nothing to delete, and FileBroken.
        """
        model = await asyncio.to_thread(self._models.get, id)
        condition(model.etag)
        if not self._is_here(model):
            raise ModelNotDownloaded(model.id, data_folder=self._settings.data_folder)
        await self._pool.unload(model.id)
        return await asyncio.to_thread(self._move_to_trash, model, now=now)

    def _is_here(self, model: KnownModel) -> bool:
        """There is a folder, and more in it than the manifest that would stay."""
        has_folder = self._store.models.has(model.id)
        return has_folder and (model.weights is not None or model.id not in catalogue.load())

    def _move_to_trash(self, model: KnownModel, *, now: bool) -> DeletedModel:
        """Of a folder that is a link only the link goes. `now` frees only the weights: notes and
        manifests are small, and nobody can get them again."""
        store = self._store.models
        self._store.remove_work_folder(fitted(model.id))
        is_kept = model.id in catalogue.load()
        fate = _fate(model.weights, store.folder(model.id), freed=now)
        if is_kept and not store.lies_outside(model.id):
            trashed = store.delete_files(model.id, is_weights(model))
        else:
            trashed = store.delete(model.id)
        if now and fate == "freed":
            self._store.trash.free_files(trashed, is_weights(model))
        return DeletedModel(id=model.id, weights=fate, manifest="kept" if is_kept else "trash")


def is_weights(model: KnownModel) -> Callable[[str], bool]:
    """Which files of the model's folder are what it weighs, and not the user's notes beside it."""
    own = model.weights.name if model.weights else ""
    return lambda name: name == own or is_gguf(name)


def _fate(weights: Path | None, folder: Path, *, freed: bool) -> WeightsFate:
    if weights is None:
        return "absent"
    if weights.parent != folder or weights.is_symlink() or folder.is_symlink():
        return "kept"
    return "freed" if freed else "trash"
