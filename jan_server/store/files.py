"""How bytes get onto the disk: what the rest of the code may ask for, and nothing below it.

What returns without an error is on the disk, the directory entry too; what raises has changed
nothing, except WriteUncertain, which says that it may have. `replacing` and `adding` argue that for
files that are there. What is new is flushed, and then its name, which is the directory's and not
the file's; so is a name that moves or goes.

Callers hold the lock of what they change: two calls for one path at a time are not ours to order.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from jan_server.errors import DataFolderMissing, WriteUncertain
from jan_server.store.adding import Added, Adding
from jan_server.store.disk import Disk, folder_mode_below, mode_below, read, status_of
from jan_server.store.failures import translated, uncertain, write_error
from jan_server.store.late import LateWriters
from jan_server.store.replacing import Replaced, Replacing
from jan_server.store.signature import Signature
from jan_server.store.system import READ, WRITE_NEW, System


class Files:
    """Reads, and changes that last. `fsync=False` is for tests: nothing is flushed.

    `root` is the one folder that is never made: it was moved away, and may come back. `late` looks
    after what is displaced.
    """

    def __init__(
        self,
        *,
        fsync: bool = True,
        system: System | None = None,
        root: Path | None = None,
        late: LateWriters | None = None,
    ) -> None:
        self.disk = Disk(fsync=fsync, system=system)
        self._replacing = Replacing(self.disk, late=late)
        self._adding = Adding(self.disk)
        self._root = root

    def __repr__(self) -> str:
        return f"<Files on {self.disk}>"

    def read(self, path: Path) -> tuple[bytes, Signature]:
        """The bytes and what they were at that moment. Raises OSError, for a FIFO too."""
        return self.read_from(path, 0)

    def read_from(self, path: Path, start: int) -> tuple[bytes, Signature]:
        """The bytes from `start` on; a negative one counts from the end, as a slice has it."""
        return read(path, start)

    def replace(self, path: Path, data: bytes, *, expected: bytes | None = None) -> Replaced:
        """Give `path` new contents, whole or not at all. A symbolic link is followed.

        `expected` are the bytes that it was thought to have; None means that they do not matter.
        When it had others at the moment of the replacement, another program wrote them since:
        they are answered, and their file lies beside as a temporary one until `let_go`. (Where
        names cannot be exchanged only the caller has them.)
        """
        return self._replacing.replace(path, data, expected=expected)

    def try_replace(self, path: Path, data: bytes, *, expected: bytes) -> Replaced | None:
        """As `replace`; but nothing is changed, and None answered, when the file has other bytes
        already, or is not there. What others write is hidden by our bytes for no moment then.
        """
        return self._replacing.try_replace(path, data, expected=expected)

    def replace_unsynced(self, path: Path, data: bytes) -> None:
        """As `replace`, for what nobody would miss: a power cut may take it along, or leave it
        empty.
        """
        self._replacing.replace_unsynced(path, data)

    def publish(self, temporary: Path, target: Path) -> None:
        """Give a finished file its name; what had that name is replaced."""
        self._replacing.publish(temporary, target)

    def let_go(self, path: Path) -> None:
        """What the last replacement of `path` displaced is kept elsewhere: its own file may go."""
        self._replacing.let_go(path)

    def afterwards(self, what: Callable[[], object]) -> None:
        """Do it when other programs have done what they were at; soon, or right now."""
        self._replacing.afterwards(what)

    def append(self, path: Path, data: bytes) -> Signature:
        """Add lines, each ended by a newline, in one write; what the file is then.

        When the last byte of the file is not a newline, one is put first: what stands there stays
        a line of its own. A write that fails is cut back, but only when the file is exactly what
        it was plus a part of ours; else another process wrote too, and WriteUncertain is raised.
        """
        return self._adding.append(path, data)

    def appended(self, path: Path, data: bytes) -> contextlib.AbstractContextManager[Added]:
        """As `append`, but the lines are not on the disk before `flush` of what this gives.

        So several files can be written first, and flushed together then.
        """
        return self._adding.appended(path, data)

    def create(self, path: Path, data: bytes, *, like: Path | None = None) -> None:
        """A new file, with the mode and owner of `like`. Raises FileExistsError."""
        with translated(path):
            known = None if like is None else status_of(like)
            self.disk.write_new(path, data, mode_below(path.parent), like=known)
        with uncertain(path):
            self.disk.flush_folder(path.parent)

    def create_from(self, path: Path, chunks: Iterable[bytes], *, home: Path) -> None:
        """A new file of these bytes, for a name that nobody else knows yet; `home` as in
        `write_folder`. Its name is not flushed. Whatever `chunks` raise, there is no file then.
        """
        with translated(path):
            fd = self.disk.system.open(path, WRITE_NEW, mode_below(home))
            try:
                for chunk in chunks:
                    self.disk.write_all(fd, chunk)
                self.flush(fd)
            except BaseException:
                self.disk.discard(path)
                raise
            finally:
                os.close(fd)

    def link(self, source: Path, path: Path) -> None:
        """A second name, not flushed, for a file that others wrote; its bytes are flushed.

        Raises OSError where there can be none: on another disk, or for want of rights.
        """
        self.disk.system.link(source, path)
        fd = self.disk.system.open(path, READ)
        try:
            self.flush(fd)
        finally:
            os.close(fd)

    def flush(self, fd: int) -> None:
        """Put on the disk what an open file of ours holds."""
        self.disk.flush(fd)

    def remove(self, path: Path) -> None:
        """Remove a file that we made. That it is gone already is no error."""
        with translated(path), contextlib.suppress(FileNotFoundError):
            self.disk.system.unlink(path)
        with uncertain(path):
            self.disk.flush_folder(path.parent)

    def write_folder(self, path: Path, contents: Mapping[str, bytes], *, home: Path) -> None:
        """A new folder with these files, for a name that nobody else knows yet.

        `home` is the folder that it will be moved to: who may read there may read this.
        """
        self.make_folder(path, home=home)
        with translated(path):
            for name, data in contents.items():
                self.disk.write_new(path / name, data, mode_below(path))
            self.disk.flush_folder(path)

    def make_folder(self, path: Path, *, home: Path | None = None) -> None:
        """Make a folder that is not there yet. Raises FileExistsError when it is."""
        with translated(path):
            self.disk.system.mkdir(path, folder_mode_below(home or path.parent))
            self.disk.flush_folder(path.parent)

    def make_folders(self, path: Path) -> None:
        """Make a folder and those above it, as far as they are not there.

        Raises DataFolderMissing when the root would be one of them.
        """
        if path.is_dir():
            return
        if path == self._root:
            raise DataFolderMissing(path)
        self.make_folders(path.parent)
        with contextlib.suppress(FileExistsError):
            self.make_folder(path)

    def move(self, source: Path, target: Path) -> None:
        """Give a file or folder another name on the same disk.

        Raises FileExistsError when something with contents has that name: the system replaces an
        empty folder, never a full one.
        """
        with translated(source):
            self.disk.system.rename(source, target)
        # First the directory that gains the name: a power cut may show both, but never neither.
        with uncertain(source):
            self.disk.flush_folder(target.parent)
            if source.parent != target.parent:
                self.disk.flush_folder(source.parent)

    def move_into(self, folder: Path, sources: Sequence[Path]) -> None:
        """Move things of one folder into another on the same disk: all of them or none."""
        moved: list[Path] = []
        for source in sources:
            try:
                self.disk.system.rename(source, folder / source.name)
            except OSError as error:
                self._give_back(folder, moved, because=error)
                raise write_error(source, error) from error
            moved.append(source)
        if moved:
            with uncertain(moved[0]):
                self.disk.flush_folder(folder)
                self.disk.flush_folder(moved[0].parent)

    def _give_back(self, folder: Path, moved: Sequence[Path], *, because: OSError) -> None:
        try:
            for source in moved:
                self.disk.system.rename(folder / source.name, source)
        except OSError as error:
            raise WriteUncertain(
                f"Moving stopped half-way ({because.strerror}); what was moved lies in {folder}."
            ) from error
