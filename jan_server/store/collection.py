"""A folder of folders, each with one JSON document: threads, assistants, models.

Every read looks at the file: what was decoded before is used again only while the file's signature
is the same. A broken file hides nothing but itself; while a good version of it was seen by this
process, that one is served and says that it is stale.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from jan_server import ids
from jan_server.errors import (
    AlreadyExists,
    DataFolderMissing,
    FileBroken,
    FileUnreadable,
    LiesOutside,
    NotFound,
)
from jan_server.store import formats, merging
from jan_server.store.deletion import Deletion
from jan_server.store.document import Document, edited
from jan_server.store.entries import Entry
from jan_server.store.files import Files
from jan_server.store.index import Index
from jan_server.store.locks import Locks
from jan_server.store.paths import Place
from jan_server.store.reading import Kept, Reading
from jan_server.store.scanner import same
from jan_server.store.trash import Trash

Documents = list[Document]
Contents = Callable[[str], Mapping[str, bytes]]
"""Given the id that it got, the files of a new folder."""

Changes = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Given the values that a document has, the new ones of some keys."""

Condition = Callable[[Document], None]
"""Given the document as its file has it; raises when it is not to be changed."""


def always(_document: Document) -> None:
    """The condition of those who have none."""


class Collection:
    """The resources of one kind. Reads cost one `stat` each; changes hold the resource's lock.

    `moved` gives the changes that every change brings along: a thread's `updated`.
    """

    def __init__(
        self,
        place: Place,
        index: Index,
        *,
        files: Files,
        locks: Locks,
        trash: Trash,
        staging: Path,
        moved: Changes = lambda _value: {},
    ) -> None:
        self.place = place
        self.index = index
        self._files = files
        self._locks = locks
        self._trash = trash
        self._staging = staging
        self._moved = moved
        self._kept = Kept()

    def __repr__(self) -> str:
        return f"<Collection {self.place.kind.folder}: {self.index!r}>"

    def list(self) -> Documents:
        """All that can be read, as their files are now; what cannot be is logged.

        Raises DataFolderMissing.
        """
        if not self.place.root.is_dir():
            raise DataFolderMissing(self.place.root)
        found = (self.place.path / f.where for f in self.place.walk() if f.is_resource)
        seen = (self._last_good(self._read(folder), folder) for folder in found)
        return [document for document in seen if document is not None]

    def get(self, id: str) -> Document:
        """Raises InvalidId, NotFound, and FileUnreadable when no good version is known."""
        return self._document(self.folder(id), id)

    def _document(self, folder: Path, id: str) -> Document:
        reading = self._read(folder)
        document = self._last_good(reading, folder)
        if document is None and not reading.problem:
            raise NotFound(self.place.kind.name, id)
        if document is None:
            raise FileUnreadable(reading.place, reading.reason)
        return document

    def shown(self, id: str) -> Entry:
        """As `get`, as it is answered: `body` and `etag`, and `problem` when it is stale."""
        folder = self.folder(id)
        found = self.index.shown(folder)
        if found is None:
            raise NotFound(self.place.kind.name, id)
        reading, entry = found
        if not entry.body:
            raise FileUnreadable(reading.place, reading.reason)
        return entry

    def folder(self, id: str) -> Path:
        """The folder that an id leads to, its document readable or not. Raises as `get`.

        One that lies directly in the kind's folder is found without the index, and at once when
        its document is as it was.
        """
        if self.index.current(id) is not None:
            return self.place.path / id
        ids.check_lookup_id(self.place.kind.name, id)
        folder = self.place.find(id) or self.index.find(id)
        if folder is None:
            raise NotFound(self.place.kind.name, id)
        return folder

    def known_folder(self, id: str) -> Path | None:
        """As `folder`, when nothing must be listed or scanned for it: a few `stat`, else None."""
        return self.place.known(id)

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

    def adopt(self, id: str, staged: Path) -> Document:
        """Give a folder that was made whole on this disk, and flushed, the name of a resource.

        It stays where it is when the name is taken: AlreadyExists. Raises InvalidId, and
        LiesOutside when a link leads elsewhere what would be above it.
        """
        ids.check_new_id(self.place.kind.name, id)
        if not self._take_name(id, staged):
            raise AlreadyExists(self.place.kind.name, id)
        return self.get(id)

    def change(
        self, id: str, changes: Mapping[str, Any] | Changes, *, condition: Condition = always
    ) -> Document:
        """Give top-level keys new values, null among them; all other bytes stay.

        `changes` may be made of what the file says under the lock. A change that alters no value
        writes nothing. What somebody else writes at the same moment is merged or kept beside the
        file. Raises as `get`, FileBroken, what `condition` raises.
        """
        with self._whole(id, condition) as document:
            wanted = changes(document.value) if callable(changes) else changes
            altered = {
                key: value
                for key, value in wanted.items()
                if key not in document.value or not same(document.value[key], value)
            }
            if not altered:
                return document
            return self._write(document, altered)

    def touch(self, id: str, changes: Changes = lambda _value: {}) -> Document:
        """As `change`, but the time of the last update moves even when nothing else does.

        Nobody asked for it: who changes the same keys at the same moment has his way. `changes`
        are made of what the file says under the lock.
        """
        with self._whole(id) as document:
            return self._write(document, changes(document.value), gives_way=True)

    def delete(self, id: str, *, condition: Condition = always) -> Path:
        """Move the folder into the trash; where it lies now. Of a link, the link itself.

        Raises as `change`, and LiesOutside for what a link above the folder leads to.
        """
        with self._whole(id, condition) as document, self.index.writing(document.folder):
            self._check_is_ours(document.folder.parent)
            return self._take(document, [document.folder])

    def check_deletable(self, id: str) -> None:
        """Raises what `delete` would before it moves anything."""
        with self._whole(id) as document:
            self._check_is_ours(document.folder.parent)

    def restore(self, item: Deletion) -> str:
        """Put a deletion back; the id that reaches it now. Raises as Trash.put_back."""
        folder = self.place.path / item.where
        if folder.parent != self.place.path:
            self.index.find(folder.name)  # Who came since has a say in the address.
        with self._locks.hold(self.place.shown(folder)), self.index.writing(folder):
            self._trash.put_back(item, self.place)
        return self.index.id_of(folder)

    def delete_files(self, id: str, is_meant: Callable[[str], bool]) -> Path:
        """Move files of a folder into the trash, and leave the folder. Raises as `delete`."""
        with self._whole(id) as document, self.index.writing(document.folder):
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
        with self._locks.hold(self.place.shown(folder)):
            self._check_is_there(folder, id)
            yield folder

    @contextlib.contextmanager
    def try_hold(self, id: str) -> Iterator[Path | None]:
        """As `hold`, but it never waits: None when somebody else holds the lock."""
        folder = self.folder(id)
        with self._locks.try_hold(self.place.shown(folder)) as is_held:
            if is_held:
                self._check_is_there(folder, id)
            yield folder if is_held else None

    def _check_is_there(self, folder: Path, id: str) -> None:
        if not self.place.is_found(folder):  # Deleted while we waited.
            raise NotFound(self.place.kind.name, id)

    @contextlib.contextmanager
    def _whole(self, id: str, condition: Condition = always) -> Iterator[Document]:
        """The document as its file has it now, locked. Raises FileBroken when it is not whole."""
        with self.hold(id) as folder:
            reading = self._read(folder)
            if reading.document is None:
                raise FileBroken(reading.place, reading.reason)
            condition(reading.document)
            yield reading.document

    def _read(self, folder: Path) -> Reading:
        """What the document is now; read again only when its file is not as it was."""
        kept = self._kept.current(folder)
        if kept is not None and kept.document and kept.document.id == self.index.id_of(folder):
            return kept
        reading = self.index.look(folder) or Reading(None, False, None)
        self._kept.keep(folder, reading)
        return reading

    def _last_good(self, reading: Reading, folder: Path) -> Document | None:
        """The document; of a broken file the last version that was good, if one was seen."""
        if reading.document is not None or not reading.problem:
            return reading.document
        good = self._kept.last_good(folder) or self._as_answered(folder)
        if good is None:
            return None
        return msgspec.structs.replace(good, id=self.index.id_of(folder), stale=reading.problem)

    def _as_answered(self, folder: Path) -> Document | None:
        entry = self.index.entry(folder)
        if entry is None or not entry.body:
            return None
        value = msgspec.json.decode(entry.body)
        path = folder / self.place.kind.document
        return Document(id=entry.id, path=path, raw=b"", value=value, signature=None, mtime=0.0)

    def _write(
        self, document: Document, changes: Mapping[str, Any], *, gives_way: bool = False
    ) -> Document:
        changes = formats.spelled_as(document.value, changes)
        moved = self._moved({**document.value, **changes})
        ours = edited(document.raw, {**changes, **moved})
        if ours == document.raw:
            return document
        merge = merging.of_keys(document.raw, changes, moved=moved)
        if gives_way:
            merge = merging.giving_way(merge)
        with self.index.writing(document.folder):
            merging.replace(self._files, document.path, ours, base=document.raw, merge=merge)
        return self._document(document.folder, document.id)

    def _take(self, document: Document, paths: Sequence[Path], *, is_folder: bool = True) -> Path:
        below = Path(self.place.shown(document.folder))
        trashed = self._trash.take(paths, below=str(below.parent if is_folder else below))
        return trashed / document.folder.name if is_folder else trashed

    def _create(self, id: str, contents: Mapping[str, bytes]) -> bool:
        """False when the name is taken.

        The folder is made whole elsewhere and gets its name in one step, so a list never shows a
        part of it. The step fails when another folder with contents got that name first.
        """
        target = self.place.path / id
        if os.path.lexists(target):
            return False
        staged = self._staging / secrets.token_hex(8)
        self._files.make_folders(self._staging)
        self._files.make_folders(self.place.path)
        try:
            self._files.write_folder(staged, contents, home=self.place.path)
            return self._take_name(id, staged)
        finally:
            shutil.rmtree(staged, ignore_errors=True)  # Ours, and gone when it was moved.

    def _take_name(self, id: str, staged: Path) -> bool:
        target = self.place.path / id
        self._check_is_ours(target.parent)
        self._files.make_folders(target.parent)
        if os.path.lexists(target):
            return False
        try:
            with self.index.writing(target):
                self._files.move(staged, target)
        except FileExistsError:
            return False
        return True


def _is_own_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _candidates(id: str) -> Iterator[str]:
    yield id
    for number in range(2, 1000):
        yield f"{id}_{number}"
