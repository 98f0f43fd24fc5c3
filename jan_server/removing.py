"""Removing a model: it is unloaded, and its files are moved to the trash.

What is no weights and no manifest is the user's own: it goes along with the folder of a model that
goes whole, and stays where the manifest stays. Of each file it is said what became of it; that is
seen afterwards, on the disk, and not what was meant to happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
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
    NotFound,
)
from jan_server.models import KnownModel, Models, fitted
from jan_server.settings import Settings
from jan_server.store import Store
from jan_server.store.library import Library
from jan_server.store.paths import MODELS
from jan_server.store.weights import METADATA, is_gguf, is_yml
from jan_server.types.model import DeletedModel, RemovedFile, WeightsFate

MOST_LISTED = 1000


class Removing:
    """Removes models. Holds nothing open.

    `drop_download` forgets what is left of a model's download, and raises NotFound for nothing.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        models: Models,
        pool: Pool,
        drop_download: Callable[[str], object],
    ) -> None:
        self._settings = settings
        self._store = store
        self._models = models
        self._pool = pool
        self._drop_download = drop_download

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
        await asyncio.to_thread(self._prepare, model)
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

    def _prepare(self, model: KnownModel) -> None:
        if model.state == "downloading":
            raise ModelDownloading(model.id)
        if not self._is_here(model):
            raise ModelNotDownloaded(model.id, data_folder=self._settings.data_folder)
        self._store.models.check_deletable(model.id)
        # What is left of a download would go on when the next server starts. There is mostly none,
        # and never one through a link.
        with contextlib.suppress(NotFound, LiesOutside):
            self._drop_download(model.id)

    def _is_here(self, model: KnownModel) -> bool:
        """There is more of it than the manifest that would stay."""
        store = self._store.models
        if not store.has(model.id):
            return False
        folder = store.folder(model.id)
        return not self._keeps_manifest(model, folder) or any(
            is_weights(model)(path.name) for path in folder.iterdir()
        )

    def _move_to_trash(self, model: KnownModel, *, now: bool) -> DeletedModel:
        """Of a folder that is a link only the link goes. `now` frees only the weights: notes and
        manifests are small, and nobody can get them again."""
        store, trash = self._store.models, self._store.trash
        folder = store.folder(model.id)
        elsewhere = _elsewhere(model, folder)
        is_kept = self._keeps_manifest(model, folder)
        if is_kept:
            trashed = store.delete_files(model.id, is_weights(model))
        else:
            trashed = store.delete(model.id)
        moved = {path: _size(path) for path in _files(trashed)}
        weights = [p for p in moved if is_weights(model)(p.name) and not p.is_symlink()]
        for home in {path.parent for path in weights} if now else ():
            names = {path.name for path in weights if path.parent == home}
            trash.free_files(home, names.__contains__)
        self._store.remove_work_folder(fitted(model.id))
        shown = partial(_shown, store, folder)
        files = [
            *_moved(moved, trashed, is_weights(model), shown),
            *(_left(folder, shown) if is_kept else ()),
            *(_kept(path) for path in elsewhere),
        ]
        return DeletedModel(
            id=model.id,
            weights=_fate(has_moved=bool(weights), is_elsewhere=bool(elsewhere), freed=now),
            manifest="kept" if is_kept else "trash",
            deletion=trashed.relative_to(trash.path).parts[0],
            files=files[:MOST_LISTED],
            more=len(files[MOST_LISTED:]),
        )

    def _keeps_manifest(self, model: KnownModel, folder: Path) -> bool:
        """The catalogue's own would take its place, but the user may have changed this one. One
        that names weights elsewhere goes: it is all that there is to remove."""
        if model.id not in catalogue.load() or not self._store.models.folders.has(model.id):
            return False
        is_beside = model.weights is None or model.weights.parent == folder
        return is_beside and not folder.is_symlink()


def is_weights(model: KnownModel) -> Callable[[str], bool]:
    """Which files of the model's folder are what it weighs, and not the user's notes beside it."""
    own = model.weights.name if model.weights else ""
    return lambda name: name == own or is_gguf(name)


def _fate(*, has_moved: bool, is_elsewhere: bool, freed: bool) -> WeightsFate:
    if is_elsewhere:
        return "kept"
    if not has_moved:
        return "absent"
    return "freed" if freed else "trash"


def _elsewhere(model: KnownModel, folder: Path) -> list[Path]:
    """The files of the model that lie outside its folder when links are followed."""
    home = Path(os.path.realpath(folder))
    named = dict.fromkeys(filter(None, (model.weights, *model.parts, model.mmproj)))
    real = (Path(os.path.realpath(path)) for path in named if path.exists())
    return [path for path in real if folder.is_symlink() or not path.is_relative_to(home)]


# --- what became of the files ----------------------------------------------------------------


def _moved(
    moved: Mapping[Path, int],
    trashed: Path,
    is_weights: Callable[[str], bool],
    shown: Callable[[Path], str],
) -> Iterator[RemovedFile]:
    """What came into the trash; of that is freed what is not there any more."""
    for path, size in moved.items():
        yield RemovedFile(
            path=shown(path.relative_to(trashed)),
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


def _left(folder: Path, shown: Callable[[Path], str]) -> Iterator[RemovedFile]:
    """What is still in the folder of a model whose manifest stays."""
    for path in _files(folder):
        yield RemovedFile(
            path=shown(path.relative_to(folder)),
            bytes=_size(path),
            fate="kept",
            why="the catalogue has this model" if _is_manifest(path) else "not the model's",
        )


def _kept(path: Path) -> RemovedFile:
    why = "lies outside the model's folder"
    return RemovedFile(path=_text(path), bytes=_size(path), fate="kept", why=why)


def _is_manifest(path: Path) -> bool:
    return path.name in (MODELS.document, METADATA) or is_yml(path.name)


def _files(path: Path) -> Iterator[Path]:
    """The files below, in order; links are files, whatever they lead to."""
    if path.is_symlink():
        yield path
        return
    for below, folders, names in os.walk(path):
        links = [name for name in folders if Path(below, name).is_symlink()]
        folders.sort()
        yield from (Path(below, name) for name in sorted([*names, *links]))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # Gone this moment.
        return 0


def _shown(library: Library, folder: Path, below: Path) -> str:
    return _text(Path(library.shown(folder / below)))


def _text(path: Path) -> str:
    """A name that is not UTF-8 is told as its bytes escape it."""
    return path.as_posix().encode(errors="backslashreplace").decode()
