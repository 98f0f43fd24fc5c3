"""A folder of folders, each with one JSON document: threads, assistants, models.

Every read looks at the file: what was decoded before is used again only while the file's signature
is the same. A broken file hides nothing but itself; while a good version of it was seen by this
process, that one is served and says that it is stale.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jan_server import ids
from jan_server.errors import AlreadyExists, FileBroken, FileUnreadable, LiesOutside, NotFound
from jan_server.store import scanner
from jan_server.store.document import Document, edited
from jan_server.store.files import Files, Signature, now, signature_of
from jan_server.store.locks import Locks
from jan_server.store.paths import Place
from jan_server.store.scanner import Problem, same
from jan_server.store.trash import Trash

logger = logging.getLogger(__name__)

Documents = list[Document]
Contents = Callable[[str], Mapping[str, bytes]]
"""Given the id that it got, the files of a new folder."""


class _Seen(NamedTuple):
    """What a file was when it was last read. `document` is the last good version of it."""

    signature: Signature | None
    is_settled: bool
    document: Document | None
    problem: str = ""
    reason: str = ""


class Collection:
    """The resources of one kind. Reads cost one `stat` each; changes hold the resource's lock.

    `moved` gives the changes that every change brings along: a thread's `updated`.
    """

    def __init__(
        self,
        place: Place,
        *,
        files: Files,
        locks: Locks,
        trash: Trash,
        staging: Path,
        moved: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda _value: {},
    ) -> None:
        self.place = place
        self._files = files
        self._locks = locks
        self._trash = trash
        self._staging = staging
        self._moved = moved
        self._cache: dict[Path, _Seen] = {}

    def __repr__(self) -> str:
        return f"<Collection {self.place.kind.folder}: {len(self._cache)} seen>"

    def list(self) -> Documents:
        """All that can be read, in the order of the folders' names; what cannot be is logged."""
        found: dict[Path, Document | None] = {}
        for id in self.place.ids():
            folder = self.place.path / id
            found[folder] = self._seen(folder).document
        for folder in tuple(self._cache):  # A copy: other threads add to it.
            if folder not in found:
                self._cache.pop(folder, None)
        return [document for document in found.values() if document is not None]

    def get(self, id: str) -> Document:
        """Raises InvalidId, NotFound, and FileUnreadable when no good version is known."""
        seen = self._seen(self.folder(id))
        if seen.document is None:
            raise FileUnreadable(seen.problem, seen.reason)
        return seen.document

    def folder(self, id: str) -> Path:
        """The folder that an id leads to, its document readable or not. Raises as `get`."""
        ids.check_lookup_id(self.place.kind.name, id)
        folder = self.place.find(id) or self._find_by_inner_id(id)
        if folder is None:
            raise NotFound(self.place.kind.name, id)
        return folder

    def has(self, id: str) -> bool:
        return ids.is_lookup_id(id, kind=self.place.kind.name) and self.place.find(id) is not None

    def create(self, id: str, contents: Contents, *, with_suffix: bool = False) -> Document:
        """A new folder with its files, whole from the first moment that it is there.

        When the name is taken: the next free `<id>_2`, `<id>_3` ... if asked for, else
        AlreadyExists. Raises InvalidId for a name that a new folder may not have.
        """
        ids.check_new_id(self.place.kind.name, id)
        for candidate in _candidates(id) if with_suffix else [id]:
            if self._create(candidate, contents(candidate)):
                return self.get(candidate)
        raise AlreadyExists(self.place.kind.name, id)

    def change(self, id: str, changes: Mapping[str, Any]) -> Document:
        """Give top-level keys new values, null among them; all other bytes stay.

        A change that alters no value writes nothing. Raises as `get`, and FileBroken.
        """
        with self._whole(id) as document:
            altered = {
                key: value
                for key, value in changes.items()
                if key not in document.value or not same(document.value[key], value)
            }
            if not altered:
                return document
            return self._write(document, altered)

    def touch(self, id: str, changes: Mapping[str, Any] | None = None) -> Document:
        """As `change`, but the time of the last update moves even when nothing else does."""
        with self._whole(id) as document:
            return self._write(document, changes or {})

    def delete(self, id: str) -> Path:
        """Move the folder into the trash; where it lies now. Of a link, the link itself.

        Raises as `change`, and LiesOutside for what a link above the folder leads to.
        """
        with self._whole(id) as document:
            self._check_is_ours(document.folder.parent)
            return self._take(document, [document.folder])

    def delete_files(self, id: str, is_meant: Callable[[str], bool]) -> Path:
        """Move files of a folder into the trash, and leave the folder. Raises as `delete`."""
        with self._whole(id) as document:
            self._check_is_ours(document.folder)
            files = (path for path in document.folder.iterdir() if not _is_own_folder(path))
            meant = sorted(path for path in files if is_meant(path.name))
            return self._take(document, meant, is_folder=False)

    def lies_outside(self, id: str) -> bool:
        """Whether a link leads the folder out of this collection's own. Raises as `folder`."""
        return not self._is_ours(self.folder(id))

    def _is_ours(self, folder: Path) -> bool:
        return Path(os.path.realpath(folder)).is_relative_to(self.place.path)

    def _check_is_ours(self, folder: Path) -> None:
        if not self._is_ours(folder):
            raise LiesOutside(self.place.shown(folder))

    @contextlib.contextmanager
    def hold(self, id: str) -> Iterator[Path]:
        """The folder of an id, with its lock held for the block. Raises as `folder`."""
        folder = self.folder(id)
        with self._locks.hold(str(folder)):
            if not self.place.holds(folder):  # Deleted while we waited.
                raise NotFound(self.place.kind.name, id)
            yield folder

    @contextlib.contextmanager
    def _whole(self, id: str) -> Iterator[Document]:
        """The document as its file has it now, locked. Raises FileBroken when it is not whole."""
        with self.hold(id) as folder:
            seen = self._seen(folder)
            if seen.document is None or seen.problem:
                raise FileBroken(seen.problem, seen.reason)
            yield seen.document

    def _write(self, document: Document, changes: Mapping[str, Any]) -> Document:
        changes = {**changes, **self._moved({**document.value, **changes})}
        raw = edited(document.raw, changes)
        if raw != document.raw:
            self._files.replace(document.path, raw)
        return self.get(document.id)

    def _take(self, document: Document, paths: Sequence[Path], *, is_folder: bool = True) -> Path:
        kind = self.place.kind.folder
        below = Path(kind, document.id)
        trashed = self._trash.take(paths, below=str(below.parent if is_folder else below))
        return trashed / document.folder.name if is_folder else trashed

    def _create(self, id: str, contents: Mapping[str, bytes]) -> bool:
        """False when the name is taken.

        The folder is made whole elsewhere and gets its name in one step, so a list never shows a
        part of it. The step fails when another folder with contents got that name first.
        """
        target = self.place.path / id
        if target.exists() or target.is_symlink():
            return False
        staged = self._staging / secrets.token_hex(8)
        self._files.make_folders(self._staging)
        self._files.make_folders(target.parent)
        try:
            self._files.write_folder(staged, contents, home=target.parent)
            self._files.move(staged, target)
        except FileExistsError:
            return False
        finally:
            shutil.rmtree(staged, ignore_errors=True)  # Ours, and gone when it was moved.
        return True

    def _find_by_inner_id(self, id: str) -> Path | None:
        """The only folder whose document says that it is `id`: a folder that was renamed."""
        folders = [document.folder for document in self.list() if document.value.get("id") == id]
        return folders[0] if len(folders) == 1 else None

    def _seen(self, folder: Path) -> _Seen:
        old = self._cache.get(folder)
        path = folder / self.place.kind.document
        try:
            signature = signature_of(path.stat())
            if old is not None and old.is_settled and old.signature == signature:
                return old
            moment = now()
            raw, signature = self._files.read(path)
            seen = self._judged(folder, path, raw, signature=signature)
            seen = seen._replace(is_settled=signature.is_settled(moment))
        except FileNotFoundError:
            seen = _Seen(None, False, self._without_file(folder, path))
        except OSError as error:
            reason = f"cannot be read ({error.strerror})"
            seen = _Seen(None, False, None, self.place.shown(path), reason)
        return self._remembered(folder, seen, old)

    def _judged(self, folder: Path, path: Path, raw: bytes, *, signature: Signature) -> _Seen:
        value = scanner.decode(raw)
        if not isinstance(value, Problem) and not isinstance(value, dict):
            value = Problem(1, 1, "expected an object")
        if isinstance(value, Problem):
            place = f"{self.place.shown(path)}:{value.line}:{value.column}"
            return _Seen(signature, False, None, place, value.reason)
        document = Document(
            id=self.place.id_of(folder),
            path=path,
            raw=raw,
            value=value,
            signature=signature,
            mtime=signature.mtime_ns / 1e9,
        )
        return _Seen(signature, False, document)

    def _without_file(self, folder: Path, path: Path) -> Document:
        return Document(
            id=self.place.id_of(folder),
            path=path,
            raw=b"",
            value={},
            signature=None,
            mtime=_mtime(folder),
        )

    def _remembered(self, folder: Path, seen: _Seen, old: _Seen | None) -> _Seen:
        """Keep what was seen; of a broken file the last good version too, and say it once."""
        if seen.problem and (old is None or (old.problem, old.reason) != seen[3:]):
            logger.warning("%s %s", seen.problem, seen.reason)
        if seen.problem and old is not None and old.document is not None:
            stale = f"{seen.problem} {seen.reason}"
            seen = seen._replace(document=msgspec.structs.replace(old.document, stale=stale))
        self._cache[folder] = seen
        return seen


def _is_own_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _candidates(id: str) -> Iterator[str]:
    yield id
    for number in range(2, 1000):
        yield f"{id}_{number}"


def _mtime(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # Deleted this moment.
        return now()
