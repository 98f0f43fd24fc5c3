"""Files of this machine become a model's: copied, linked or moved into a folder that is made whole.

A copy is hashed on the way, and given up when its source is not what it was when its header was
read. A link is the file's path in `model.json`: sync programs and other systems keep it, and who
removes the model removes nothing else. A move within a disk gives the file a second name first: at
no moment is it without one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import msgspec

from jan_server import catalogue, ids
from jan_server.errors import (
    AlreadyExists,
    DiskFull,
    FileUnreadable,
    ImportStopped,
    JanError,
    NotFound,
    NotWritable,
)
from jan_server.importing.manifest import (
    file_names,
    manifest,
    manifest_bytes,
    shown_name,
    suggested_id,
)
from jan_server.importing.originals import (
    changed,
    check_is_the_same,
    check_movable,
    chunks,
    disk_of,
    written_path,
)
from jan_server.importing.selection import ModelFile, Selection
from jan_server.models import Models
from jan_server.store import Store
from jan_server.store.doctor.names import is_stale
from jan_server.store.paths import MODELS
from jan_server.store.replacing import TEMPORARY
from jan_server.store.signature import signature_at
from jan_server.types.importing import ImportedFile, ImportedModel, Mode

logger = logging.getLogger(__name__)

SCRATCH = f"{TEMPORARY}import-"
"""Begins the name of a folder that one import works in."""

HINT = "Choose another: --name, or `model` in a request."

OnProgress = Callable[[int, int], None]
"""Told how many bytes are copied, and of how many."""


def _unwatched(_done: int, _total: int) -> None:
    pass


def import_model(
    store: Store,
    models: Models,
    files: Selection,
    *,
    id: str | None = None,
    name: str | None = None,
    mode: Mode = "copy",
    on_progress: OnProgress = _unwatched,
    stopped: Event | None = None,
) -> ImportedModel:
    """Make a model of files that `select` found. Blocking; a copy takes as long as the disk does.

    `id` is by default made of the file's name, `name` the header's. Raises as `check_free`,
    NotImportable for what cannot be linked or moved, ImportFailed when a source cannot be read to
    its end or is not what it was, ImportStopped once `stopped` is set, and what writing raises:
    there is no model then, and no part of one.
    """
    store.check_writable()
    id = id or suggested_id(files)
    check_free(store, id)
    job = _Job(
        store,
        files,
        id=id,
        name=name or shown_name(files) or id,
        mode=mode,
        on_progress=on_progress,
        stopped=stopped or Event(),
    )
    try:
        done = job.link() if mode == "link" else job.place()
    except AlreadyExists as error:  # Somebody else was faster.
        raise AlreadyExists("model", id, hint=HINT) from error
    return msgspec.structs.replace(done, cannot_run=_problem(models, id))


def check_free(store: Store, id: str) -> None:
    """Whether a new model may have this id. Raises InvalidId, and AlreadyExists with what to do.

    Taken is what the catalogue has, too: a model that is got there would meet the files of another.
    """
    ids.check_new_id("model", id)
    parts = id.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts))]
    if _is_known(store, id) or os.path.lexists(store.models.place.path / id):
        raise AlreadyExists("model", id, hint=HINT)
    for taken in filter(store.models.has, above):
        raise AlreadyExists("model", taken, hint=f"No other can lie in its folder. {HINT}")


def _is_known(store: Store, id: str) -> bool:
    """Whether something is reached by it. A short name is not: a model of that very id has it."""
    try:
        store.models.get(id)
    except NotFound:
        return id in catalogue.load()
    except FileUnreadable:
        pass
    return True


def _problem(models: Models, id: str) -> str | msgspec.UnsetType:
    """Why it will not answer; found out without loading it."""
    try:
        models.spec(models.ready(id))
    except JanError as error:
        return error.message
    return msgspec.UNSET


class _Job:
    """One import: what its steps have in common."""

    def __init__(
        self,
        store: Store,
        files: Selection,
        *,
        id: str,
        name: str,
        mode: Mode,
        on_progress: OnProgress,
        stopped: Event,
    ) -> None:
        self._store = store
        self._files = files
        self._id = id
        self._name = name
        self._mode: Mode = mode
        self._on_progress = on_progress
        self._stopped = stopped
        self._copied = 0
        self._to_copy = 0
        self._sums: dict[str, str] = {}

    def link(self) -> ImportedModel:
        """A folder with a manifest that names the files where they are."""
        paths = [written_path(file.path) for file in self._files.files]
        self._store.models.folders.create(
            self._id, lambda _id: {MODELS.document: self._manifest(paths)}
        )
        return self._told(paths)

    def place(self) -> ImportedModel:
        """A folder with the files in it."""
        if self._mode == "move":
            check_movable(self._files)
        names = file_names(self._files)
        folder = self._store.models.place.path / self._id
        with _scratch(self._store) as scratch:
            self._check_space(scratch)
            staged = scratch / "model"
            self._store.files.make_folder(staged, home=self._store.models.place.path)
            for file, name in zip(self._files.files, names, strict=True):
                if not (self._mode == "move" and self._named_again(file, staged / name)):
                    self._copy(file, staged / name)
            # Flushes the folder: the names of all files are on the disk then.
            self._store.files.create(staged / MODELS.document, self._manifest(names))
            self._store.models.folders.adopt(self._id, staged)
        self._record_sums(folder)
        left = self._remove_originals(folder, names) if self._mode == "move" else []
        done = self._told([f"{MODELS.folder}/{self._id}/{name}" for name in names])
        return msgspec.structs.replace(done, originals_left=left) if left else done

    def _manifest(self, paths: list[str]) -> bytes:
        value = manifest(
            self._files,
            id=self._id,
            name=self._name,
            created=time.time(),
            paths=paths,
            sums=self._sums,
        )
        return manifest_bytes(value)

    def _check_space(self, scratch: Path) -> None:
        """Weights in the trash give way. Raises DiskFull before anything is written."""
        disk = disk_of(scratch) if self._mode == "move" else None
        copied = [file for file in self._files.files if disk is None or disk_of(file.path) != disk]
        self._to_copy = sum(file.signature.size for file in copied)
        if copied:
            self._store.make_room(self._to_copy)
        check_space(scratch, self._to_copy)

    def _named_again(self, file: ModelFile, target: Path) -> bool:
        """Whether the file has a second name now. Other disks, and some file systems, have none."""
        try:
            self._store.files.link(file.path, target)
        except OSError as error:
            logger.info("%s is copied, for it gets no second name: %s", file.path, error.strerror)
            target.unlink(missing_ok=True)
            if error.errno != errno.EXDEV:
                self._to_copy += file.signature.size
                check_space(target.parent, file.signature.size)
            return False
        if signature_at(target) != file.signature:
            raise changed(file)
        return True

    def _copy(self, file: ModelFile, target: Path) -> None:
        sum = hashlib.sha256()

        def hashed() -> Iterator[bytes]:
            for chunk in chunks(file):
                if self._stopped.is_set():
                    raise ImportStopped(f"The import of {file.path.name} was stopped.")
                sum.update(chunk)
                yield chunk
                self._copied += len(chunk)
                self._on_progress(self._copied, self._to_copy)

        try:
            self._store.files.create_from(target, hashed(), home=self._store.models.place.path)
        except DiskFull as error:
            raise DiskFull(f"The disk is full: {file.path.name} was not imported.") from error
        self._sums[target.name] = sum.hexdigest()

    def _record_sums(self, folder: Path) -> None:
        """That the model is there counts for more than that its sums are known."""
        for name, sum in self._sums.items():
            try:
                self._store.sums.record(folder / name, sum)
            except JanError as error:
                logger.warning("The sum of %s is not recorded: %s", name, error)

    def _remove_originals(self, folder: Path, names: list[str]) -> list[str]:
        """Those that could not be removed. The model is on the disk by now."""
        left = []
        for file, name in zip(self._files.files, names, strict=True):
            try:
                check_is_the_same(file, folder / name)
                self._store.files.remove(file.path)
            except (JanError, OSError) as error:
                logger.warning("After the move of %s: %s", file.path, error)
            if os.path.lexists(file.path):
                left.append(str(file.path))
        return left

    def _told(self, paths: list[str]) -> ImportedModel:
        return ImportedModel(
            id=self._id,
            mode=self._mode,
            files=[
                ImportedFile(
                    path=path,
                    bytes=file.signature.size,
                    sha256=self._sums.get(Path(path).name, msgspec.UNSET),
                )
                for path, file in zip(paths, self._files.files, strict=True)
            ],
        )


def check_space(folder: Path, needed: int) -> None:
    """Raises DiskFull with both numbers."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskFull(
            f"{needed / 1e6:,.0f} MB are needed, and {free / 1e6:,.0f} MB are free on the disk of "
            "the data folder. Free some, or let the model be a link."
        )


@contextlib.contextmanager
def _scratch(store: Store) -> Iterator[Path]:
    """A folder of our own on the disk where models lie: taking a name there is one step."""
    place, work = store.models.place.path, store.work_folder("new")
    store.files.make_folders(place)
    if not os.access(place, os.W_OK | os.X_OK):  # Told before gigabytes are copied.
        raise NotWritable(f"{place} cannot be changed. Check the folder's permissions.")
    on_one_disk = place.stat().st_dev == work.stat().st_dev
    scratch = (work if on_one_disk else place) / f"{SCRATCH}{secrets.token_hex(8)}"
    for stale in filter(is_stale, (work if on_one_disk else place).glob(f"{SCRATCH}*")):
        shutil.rmtree(stale, ignore_errors=True)  # What a crash left.
    try:
        store.files.make_folder(scratch)
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
