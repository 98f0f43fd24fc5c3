"""Removing a model: it is unloaded, and its files are moved to the trash.

What is no weights and no manifest is the user's own: it goes along with the folder of a model that
goes whole, and stays where the manifest stays. Of each file it is said what became of it; that is
seen afterwards, on the disk, and not what was meant to happen.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from msgspec import UNSET, UnsetType

from jan_server import catalogue
from jan_server.engines.pool import Pool
from jan_server.errors import (
    EngineDied,
    FileBroken,
    FileUnreadable,
    LiesOutside,
    ModelDownloading,
    ModelNotDownloaded,
)
from jan_server.models import KnownModel, Models, fitted
from jan_server.settings import Settings
from jan_server.store import Store
from jan_server.store.paths import MODELS, Place
from jan_server.store.weights import is_gguf
from jan_server.types.model import DeletedModel, RemovedFile, WeightsFate

MOST_LISTED = 1000


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

        Answers that it still gives end with EngineDied. The manifest goes only when the catalogue
        does not carry the model. Weights that lie outside the model's folder are not ours to move.
        `condition` is called with the model's ETag before anything else is done. Raises as it does
        and as Models.get, ModelNotDownloaded when there is nothing to delete, ModelDownloading,
        LiesOutside, and FileBroken: the model is as it was then, and still loaded.
        """
        model = await asyncio.to_thread(self._find, id)
        condition(model.etag)
        await asyncio.to_thread(self._check_removable, model)
        await self._unload(model)
        try:
            return await asyncio.to_thread(self._move_to_trash, model, now=now)
        finally:
            # Race: a request that came meanwhile has loaded it again.
            await self._unload(model)

    async def _unload(self, model: KnownModel) -> None:
        because = EngineDied(f"The model {model.id!r} was removed.")
        await self._pool.unload(model.id, because)

    def _find(self, id: str) -> KnownModel:
        try:
            return self._models.get(id)
        except FileUnreadable as error:
            raise FileBroken(error.place, error.reason) from error

    def _check_removable(self, model: KnownModel) -> None:
        if model.state == "downloading":
            raise ModelDownloading(model.id)
        if not self._is_here(model):
            raise ModelNotDownloaded(model.id, data_folder=self._settings.data_folder)
        if model.stale:
            place, _, reason = model.stale.partition(" ")
            raise FileBroken(place, reason)
        folder = self._store.models.folder(model.id)
        if self._store.models.lies_outside(model.id) and not folder.is_symlink():
            raise LiesOutside(self._store.models.place.shown(folder))

    def _is_here(self, model: KnownModel) -> bool:
        """There is a folder, and more in it than the manifest that would stay."""
        has_folder = self._store.models.has(model.id)
        return has_folder and (model.weights is not None or model.id not in catalogue.load())

    def _move_to_trash(self, model: KnownModel, *, now: bool) -> DeletedModel:
        """Of a folder that is a link only the link goes. `now` frees only the weights: notes and
        manifests are small, and nobody can get them again."""
        store, trash = self._store.models, self._store.trash
        folder = store.folder(model.id)
        source = model.weights and Path(os.path.realpath(model.weights))
        fate = _fate(model.weights, folder, freed=now)
        is_kept = self._keeps_manifest(model, folder)
        if is_kept:
            trashed = store.delete_files(model.id, is_weights(model))
        else:
            trashed = store.delete(model.id)
        deletion = trash.path / trashed.relative_to(trash.path).parts[0]
        moved = {path: _size(path) for path in _files(deletion)}
        if model.weights and fate == "freed":
            for home in {folder, model.weights.parent}:
                trash.free_files(trashed / home.relative_to(folder), is_weights(model))
        self._store.remove_work_folder(fitted(model.id))
        files = [
            *_moved(moved, deletion, is_weights(model)),
            *(_left(folder, self._store.models.place) if is_kept else ()),
            *_elsewhere(source, fate),
        ]
        return DeletedModel(
            id=model.id,
            weights=fate,
            manifest="kept" if is_kept else "trash",
            deletion=deletion.name,
            files=files[:MOST_LISTED],
            more=len(files[MOST_LISTED:]),
        )

    def _keeps_manifest(self, model: KnownModel, folder: Path) -> bool:
        """The catalogue's own would take its place, but the user may have changed this one. One
        that names weights elsewhere goes: it is all that there is to remove."""
        if model.id not in catalogue.load() or folder.is_symlink():
            return False
        return model.weights is None or model.weights.parent == folder


def is_weights(model: KnownModel) -> Callable[[str], bool]:
    """Which files of the model's folder are what it weighs, and not the user's notes beside it."""
    own = model.weights.name if model.weights else ""
    return lambda name: name == own or is_gguf(name)


def _fate(weights: Path | None, folder: Path, *, freed: bool) -> WeightsFate:
    if weights is None:
        return "absent"
    if not weights.is_relative_to(folder) or weights.is_symlink() or folder.is_symlink():
        return "kept"
    return "freed" if freed else "trash"


# --- what became of the files ----------------------------------------------------------------


def _moved(
    moved: Mapping[Path, int], deletion: Path, is_weights: Callable[[str], bool]
) -> Iterator[RemovedFile]:
    """What came into the trash; of that is freed what is not there any more."""
    for path, size in moved.items():
        yield RemovedFile(
            path=_text(path.relative_to(deletion)),
            bytes=size,
            fate="trash" if os.path.lexists(path) else "freed",
            why=_why_moved(path, is_weights),
        )


def _why_moved(path: Path, is_weights: Callable[[str], bool]) -> str | UnsetType:
    if path.is_symlink():
        return "a link; what it leads to stays"
    if is_weights(path.name) or _is_manifest(path):
        return UNSET
    return "not the model's, but in its folder"


def _left(folder: Path, place: Place) -> Iterator[RemovedFile]:
    """What is still in the folder of a model whose manifest stays."""
    for path in _files(folder):
        yield RemovedFile(
            path=_text(Path(place.shown(path))),
            bytes=_size(path),
            fate="kept",
            why="the catalogue has this model" if _is_manifest(path) else "not the model's",
        )


def _elsewhere(source: Path | None, fate: WeightsFate) -> Iterator[RemovedFile]:
    if source is not None and fate == "kept":
        why = "lies outside the model's folder"
        yield RemovedFile(path=_text(source), bytes=_size(source), fate="kept", why=why)


def _is_manifest(path: Path) -> bool:
    return path.name == MODELS.document


def _files(folder: Path) -> Iterator[Path]:
    """The files below, in order; links are files, whatever they lead to."""
    for below, folders, names in os.walk(folder):
        links = [name for name in folders if Path(below, name).is_symlink()]
        folders.sort()
        yield from (Path(below, name) for name in sorted([*names, *links]))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # Gone this moment.
        return 0


def _text(path: Path) -> str:
    """A name that is not UTF-8 is told as its bytes escape it."""
    return path.as_posix().encode(errors="backslashreplace").decode()
