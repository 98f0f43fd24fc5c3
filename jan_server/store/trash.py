"""Deleting is moving: `.jan_server/trash/<UTC time>/<kind>/<id>/`.

What is taken lies there as it lay in the data folder, so that a person can put it back by hand. It
is removed for good in two steps: first it leaves the trash by a rename, then what was renamed is
removed; so no list ever shows the half of a deletion. Folders that are empty are what a crash, or
putting back, leaves: they are no deletion.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from jan_server.errors import (
    AlreadyExists,
    DataFolderMissing,
    LiesOutside,
    NotFound,
    WriteFailed,
)
from jan_server.store import deletion
from jan_server.store.deletion import Deletion
from jan_server.store.files import Files
from jan_server.store.paths import Place
from jan_server.store.replacing import TEMPORARY

Deletions = list[Deletion]

_HALF_MADE = 3600.0
"""Seconds after which what is empty or half removed is nobody's work any more."""


class Trash:
    """A folder of deletions, each in a folder named after its moment."""

    def __init__(self, path: Path, files: Files) -> None:
        self.path = path
        self._files = files
        self._leaving = threading.Lock()  # Who comes second finds it gone, not half gone.

    def __repr__(self) -> str:
        return f"<Trash {self.path}>"

    def list(self) -> Deletions:
        """All deletions, newest first. What a person put there is none.

        Raises DataFolderMissing: the trash of a folder that was moved away is not empty.
        """
        root = self.path.parent.parent
        if not root.is_dir():
            raise DataFolderMissing(root)
        found = (deletion.read(self.path / name) for name in self._names())
        return sorted(filter(None, found), key=lambda item: item.order, reverse=True)

    def get(self, id: str) -> Deletion:
        """Raises NotFound."""
        found = deletion.read(self.path / id) if id in self._names() else None
        if found is None:
            raise NotFound("deletion", id)
        return found

    def put_aside(self) -> Iterator[tuple[float, Path]]:
        """When the doctor put something aside, and where that is. Not in the list: no deletion."""
        for name in self._names():
            moment, folder = deletion.time_of(name), self.path / name / deletion.PUT_ASIDE
            if moment is None or folder.parent.is_symlink() or folder.is_symlink():
                continue
            with contextlib.suppress(OSError):
                yield from ((moment, path) for path in list(folder.iterdir()))

    def size(self) -> int:
        """The bytes of all deletions."""
        return sum(item.bytes for item in self.list())

    def take(self, paths: Sequence[Path], *, below: str) -> Path:
        """Move these files or folders here, in one deletion; its folder `<time>/<below>`.

        A link is moved, not what it leads to.
        """
        target = self._new_deletion() / below
        try:
            self._files.make_folders(target)
            self._files.move_into(target, paths)
        except BaseException:
            self._prune(target)
            raise
        return target

    def keep(self, data: bytes, *, below: str, name: str) -> Path:
        """A deletion of what is not a file of its own: `data`, in a new file that is answered.

        `name` may be any text; the file's name is made of it.
        """
        target = self._new_deletion() / below
        try:
            self._files.make_folders(target.parent)
            contents = {_file_name(name): data}
            self._files.write_folder(target, contents, home=self.path)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            self._prune(target)
            raise
        return target / _file_name(name)

    def put_back(self, item: Deletion, place: Place) -> Path:
        """Move a resource to where it was; its folder.

        Weights go into their model's folder when that is still there. Raises NotFound when it is
        not in the trash any more, AlreadyExists when the name is taken, LiesOutside when a link
        leads it elsewhere now, and what Files.move does: nothing was moved then. The caller holds
        the resource's lock.
        """
        with self._leaving:
            return self._put_back(item, place)

    def _put_back(self, item: Deletion, place: Place) -> Path:
        self._check_is_there(item.path)
        target = place.path / item.where
        _check_is_inside(target.parent, place)
        self._files.make_folders(target.parent)
        if _is_free(target, item):
            self._move(item, target)
        elif _is_only_weights(item, place):
            self._move_beside(item, target, place)
        else:
            raise AlreadyExists(item.kind, item.resource_id)
        self._prune(item.path)
        return target

    def free(self, trashed: Path) -> None:
        """Remove a deletion for good. `trashed` is its `path`; links are not followed.

        Raises ValueError for a path that is no deletion's, and NotFound when it is not in the trash
        any more.
        """
        self._check_is_deletion(trashed)
        with self._leaving:
            self._check_is_there(trashed)
            self._remove([trashed])

    def free_files(self, trashed: Path, is_meant: Callable[[str], bool]) -> None:
        """Remove files of one trashed folder for good; links are removed, not followed.

        Raises as `free`.
        """
        self._check_is_deletion(trashed)
        with self._leaving:
            self._check_is_there(trashed)
            files = (path for path in trashed.iterdir() if path.is_symlink() or not path.is_dir())
            self._remove([path for path in files if is_meant(path.name)])

    def sweep(self, now: float) -> None:
        """Remove what is not in the trash any more: halves of an hour ago, and empty folders."""
        for name in self._names():
            path = self.path / name
            made = deletion.time_of(name)
            if name.startswith(TEMPORARY) and _is_old(_mtime(path), now):
                shutil.rmtree(path, ignore_errors=True)
            elif made is not None and _is_old(made, now) and not path.is_symlink():
                _remove_empty(path)

    def _names(self) -> Iterable[str]:
        try:
            return os.listdir(self.path)  # noqa: PTH208
        except OSError:
            return ()

    def _new_deletion(self) -> Path:
        self._files.make_folders(self.path)
        moment = datetime.now(UTC)
        number = 1
        while True:
            folder = self.path / deletion.name_of(moment, number)
            try:
                self._files.make_folder(folder)
            except FileExistsError:
                number += 1
            else:
                return folder

    def _move(self, item: Deletion, target: Path) -> None:
        try:
            self._files.move(item.path, target)
        except FileExistsError as error:
            raise AlreadyExists(item.kind, item.resource_id) from error

    def _move_beside(self, item: Deletion, target: Path, place: Place) -> None:
        _check_is_inside(target, place)
        files = sorted(item.path.iterdir())
        taken = [path.name for path in files if os.path.lexists(target / path.name)]
        if taken:
            raise AlreadyExists("model file", f"{item.resource_id}/{taken[0]}")
        self._files.move_into(target, files)

    def _check_is_deletion(self, trashed: Path) -> None:
        parts = trashed.relative_to(self.path).parts
        if len(parts) < 3 or ".." in parts:
            raise ValueError(f"{trashed} is not a deletion")

    def _check_is_there(self, trashed: Path) -> None:
        if not os.path.lexists(trashed):
            raise NotFound("deletion", trashed.relative_to(self.path).parts[0])

    def _remove(self, paths: Sequence[Path]) -> None:
        """Of one folder. A crash leaves the rest for `sweep`."""
        if not paths:
            return
        doomed = self.path / f"{TEMPORARY}{secrets.token_hex(8)}"
        self._files.make_folder(doomed)
        try:
            self._files.move_into(doomed, paths)
            shutil.rmtree(doomed)
        except OSError as error:
            raise WriteFailed(f"{doomed} cannot be removed: {error.strerror}.") from error
        finally:
            self._prune(paths[0].parent)
            _remove_empty(doomed)

    def _prune(self, path: Path) -> None:
        """Remove what is empty on the way up to the trash itself, `path` too."""
        with contextlib.suppress(OSError):
            while path != self.path:
                if path.exists():
                    path.rmdir()
                path = path.parent


def _check_is_inside(folder: Path, place: Place) -> None:
    if not Path(os.path.realpath(folder)).is_relative_to(place.path):
        raise LiesOutside(place.shown(folder))


def _is_free(target: Path, item: Deletion) -> bool:
    """Whether nothing has the name; an empty folder is nothing, a rename takes its place."""
    if not os.path.lexists(target):
        return True
    if target.is_symlink() or not target.is_dir() or item.path.is_symlink():
        return False
    return not any(target.iterdir())


def _is_only_weights(item: Deletion, place: Place) -> bool:
    """Whether the model's manifest stayed where it was."""
    is_whole = item.path.is_symlink() or os.path.lexists(item.path / place.kind.document)
    return item.kind == "model" and not is_whole


def _is_old(time: float, now: float) -> bool:
    return now - time > _HALF_MADE


def _mtime(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:  # Removed this moment.
        return math.inf


def _remove_empty(folder: Path) -> None:
    """Remove the folders that hold nothing but such folders. No file is ever removed."""
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            Path(path).rmdir()


def _file_name(text: str) -> str:
    return f"{quote(text, safe=' @+()')[:200]}.json"
