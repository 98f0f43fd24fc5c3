"""How bytes get onto the disk. Only this module knows.

What returns without an error is on the disk, the directory entry too; what raises has changed
nothing, except WriteUncertain, which says that it may have. The strategy is the usual one: new
contents go to a temporary file beside the target, are flushed, and take the target's name in one
step; then the directory is flushed, since a name is the directory's and not the file's.

Callers hold the lock of what they change: two calls for one path at a time are not ours to order.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jan_server.errors import DataFolderMissing, WriteUncertain
from jan_server.store.failures import shown, translated, uncertain, write_error
from jan_server.store.late import LateWriters
from jan_server.store.signature import TICK, Signature, now, signature_of
from jan_server.store.system import (
    FOLDER,
    NO_WAIT,
    READ,
    READ_AND_WRITE,
    WRITE_NEW,
    CannotExchange,
    OperatingSystem,
    System,
)

TEMPORARY = ".jan_server-"
"""Begins the name of every file that is not whole yet. Jan's and our own lists skip it, the watcher
too; one line of a .gitignore, `.jan_server*`, names these files and our own folder."""

_MAX_NAMED = 10_000


class Added(NamedTuple):
    """Lines that were written behind a file."""

    path: Path
    fd: int
    flush_or_cut_back: Callable[[], Signature]

    def flush(self) -> Signature:
        """Put them on the disk; what the file is then. From any thread, once."""
        with translated(self.path):
            return self.flush_or_cut_back()


class Replaced(NamedTuple):
    """What a file is since it was replaced, and what it had till then if that was not expected."""

    signature: Signature
    displaced: bytes | None


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
        self._fsync = fsync
        self._root = root
        self._system = system or OperatingSystem()
        self._named: dict[Path, int] = {}
        self._displaced: dict[Path, tuple[Path, bytes]] = {}
        self._late = late

    def __repr__(self) -> str:
        return f"<Files fsync={'always' if self._fsync else 'off'}>"

    def read(self, path: Path) -> tuple[bytes, Signature]:
        """The bytes and what they were at that moment. Raises OSError, for a FIFO too."""
        return self.read_from(path, 0)

    def read_from(self, path: Path, start: int) -> tuple[bytes, Signature]:
        """The bytes from `start` on; a negative one counts from the end, as a slice has it."""
        fd = os.open(path, READ | NO_WAIT)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise _not_regular(path, status)
            if start:
                os.lseek(fd, start if start > 0 else max(0, status.st_size + start), os.SEEK_SET)
            return _read_all(fd, status.st_size), signature_of(status)
        finally:
            os.close(fd)

    def replace(self, path: Path, data: bytes, *, expected: bytes | None = None) -> Replaced:
        """Give `path` new contents, whole or not at all. A symbolic link is followed.

        `expected` are the bytes that it was thought to have; None means that they do not matter.
        When it had others at the moment of the replacement, another program wrote them since:
        they are answered, and their file lies beside as a temporary one until `let_go`. (Where
        names cannot be exchanged only the caller has them.)
        """
        target = Path(os.path.realpath(path))
        return self._put(*self._prepared(target, data), target, expected)

    def try_replace(self, path: Path, data: bytes, *, expected: bytes) -> Replaced | None:
        """As `replace`; but nothing is changed, and None answered, when the file has other bytes
        already, or is not there. What others write is hidden by our bytes for no moment then.
        """
        target = Path(os.path.realpath(path))
        temporary, signature = self._prepared(target, data)
        if self._holds(target, expected):
            return self._put(temporary, signature, target, expected)
        self._discard(temporary)
        return None

    def afterwards(self, what: Callable[[], object]) -> None:
        """Do it when other programs have done what they were at; soon, or right now."""
        if self._late is None:
            what()
        else:
            self._late.afterwards(what)

    def let_go(self, path: Path) -> None:
        """What the last replacement of `path` displaced is kept elsewhere: its own file may go."""
        target = Path(os.path.realpath(path))
        if target in self._displaced:
            temporary, seen = self._displaced.pop(target)
            self._discard_displaced(temporary, target, seen)

    def write_folder(self, path: Path, contents: Mapping[str, bytes], *, home: Path) -> None:
        """A new folder with these files, for a name that nobody else knows yet.

        `home` is the folder that it will be moved to: who may read there may read this.
        """
        self.make_folder(path, home=home)
        with translated(path):
            for name, data in contents.items():
                self._write_new(path / name, data, self._mode_below(path))
            self._flush_folder(path)

    def append(self, path: Path, data: bytes) -> Signature:
        """Add lines, each ended by a newline, in one write; what the file is then.

        When the last byte of the file is not a newline, one is put first: what stands there stays
        a line of its own. A write that fails is cut back, but only when the file is exactly what
        it was plus a part of ours; else another process wrote too, and WriteUncertain is raised.
        """
        with self.appended(path, data) as added:
            return added.flush()

    @contextlib.contextmanager
    def appended(self, path: Path, data: bytes) -> Iterator[Added]:
        """As `append`, but the lines are not on the disk before `flush` of what this gives.

        So several files can be written first, and flushed together then.
        """
        with translated(path):
            fd = self._open_to_append(path)
        try:
            with translated(path):
                self._flush_name(path, fd)
                added = self._append(path, fd, data)
            yield added
        finally:
            os.close(fd)

    def create(self, path: Path, data: bytes, *, like: Path | None = None) -> None:
        """A new file, with the mode and owner of `like`. Raises FileExistsError."""
        with translated(path):
            known = None if like is None else _status(like)
            self._write_new(path, data, self._mode_below(path.parent), like=known)
        with uncertain(path):
            self._flush_folder(path.parent)

    def create_from(self, path: Path, chunks: Iterable[bytes], *, home: Path) -> None:
        """A new file of these bytes, for a name that nobody else knows yet; `home` as in
        `write_folder`. Its name is not flushed. Whatever `chunks` raise, there is no file then.
        """
        with translated(path):
            fd = self._system.open(path, WRITE_NEW, self._mode_below(home))
            try:
                for chunk in chunks:
                    self._write_all(fd, chunk)
                self._flush(fd)
            except BaseException:
                self._discard(path)
                raise
            finally:
                os.close(fd)

    def link(self, source: Path, path: Path) -> None:
        """A second name, not flushed, for a file that others wrote; its bytes are flushed.

        Raises OSError where there can be none: on another disk, or for want of rights.
        """
        self._system.link(source, path)
        fd = self._system.open(path, READ)
        try:
            self._flush(fd)
        finally:
            os.close(fd)

    def replace_unsynced(self, path: Path, data: bytes) -> None:
        """As `replace`, for what nobody would miss: a power cut may take it along, or leave it
        empty.
        """
        target = Path(os.path.realpath(path))
        with translated(target):
            temporary, _ = self._write_temporary(target, data, flush=False)
        self._take_the_name(temporary, target, None)

    def remove(self, path: Path) -> None:
        """Remove a file that we made. That it is gone already is no error."""
        with translated(path), contextlib.suppress(FileNotFoundError):
            self._system.unlink(path)
        with uncertain(path):
            self._flush_folder(path.parent)

    def make_folder(self, path: Path, *, home: Path | None = None) -> None:
        """Make a folder that is not there yet. Raises FileExistsError when it is."""
        with translated(path):
            self._system.mkdir(path, self._folder_mode_below(home or path.parent))
            self._flush_folder(path.parent)

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
            self._system.rename(source, target)
        # First the directory that gains the name: a power cut may show both, but never neither.
        with uncertain(source):
            self._flush_folder(target.parent)
            if source.parent != target.parent:
                self._flush_folder(source.parent)

    def move_into(self, folder: Path, sources: Sequence[Path]) -> None:
        """Move things of one folder into another on the same disk: all of them or none."""
        moved: list[Path] = []
        for source in sources:
            try:
                self._system.rename(source, folder / source.name)
            except OSError as error:
                self._give_back(folder, moved, because=error)
                raise write_error(source, error) from error
            moved.append(source)
        if moved:
            with uncertain(moved[0]):
                self._flush_folder(folder)
                self._flush_folder(moved[0].parent)

    def flush(self, fd: int) -> None:
        """Put on the disk what an open file of ours holds."""
        self._flush(fd)

    def publish(self, temporary: Path, target: Path) -> None:
        """Give a finished file its name; what had that name is replaced."""
        with translated(target):
            fd = self._system.open(temporary, READ_AND_WRITE)
            try:
                self._flush(fd)
            finally:
                os.close(fd)
            self._system.replace(temporary, target)
        with uncertain(target):
            self._flush_folder(target.parent)

    def _give_back(self, folder: Path, moved: Sequence[Path], *, because: OSError) -> None:
        try:
            for source in moved:
                self._system.rename(folder / source.name, source)
        except OSError as error:
            raise WriteUncertain(
                f"Moving stopped half-way ({because.strerror}); what was moved lies in {folder}."
            ) from error

    def _prepared(self, target: Path, data: bytes) -> tuple[Path, Signature]:
        with translated(target):
            # 1. Beside the target: a rename is one step only within a file system. After a crash
            # from here on a file of ours lies there, which nothing lists.
            return self._write_temporary(target, data)

    def _put(
        self, temporary: Path, signature: Signature, target: Path, expected: bytes | None
    ) -> Replaced:
        # 2. The step itself. Readers, and whoever looks after a crash, see old bytes or new ones.
        displaced = self._take_the_name(temporary, target, expected)
        # 3. The new name is the directory's. Too late to undo: the old file is gone.
        with uncertain(target):
            self._flush_folder(target.parent)
        return Replaced(signature, None if displaced == expected else displaced)

    def _write_temporary(
        self, target: Path, data: bytes, *, flush: bool = True
    ) -> tuple[Path, Signature]:
        temporary = target.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
        old = _status(target)
        if old is not None and not stat.S_ISREG(old.st_mode):
            raise _not_regular(target)
        mode = self._mode_below(target.parent)
        return temporary, self._write_new(temporary, data, mode, like=old, flush=flush)

    def _holds(self, path: Path, data: bytes) -> bool:
        try:
            return self.read(path)[0] == data
        except OSError:
            return False

    def _take_the_name(self, temporary: Path, target: Path, expected: bytes | None) -> bytes | None:
        """The file gets the target's name. Unless None is expected: what that had till then."""
        try:
            if expected is not None:
                return self._exchange(temporary, target, expected)
            self._system.replace(temporary, target)
        except OSError as error:
            self._discard(temporary)
            raise write_error(target, error) from error
        return None

    def _exchange(self, temporary: Path, target: Path, expected: bytes) -> bytes | None:
        """Both names change places in one step, so that what is displaced still has a name.

        After a crash, or when it cannot be read, the old file lies there as a temporary one.
        """
        try:
            self._system.exchange(temporary, target)
        except CannotExchange:
            return self._replace_and_read(temporary, target)
        except FileNotFoundError:  # Deleted since: nothing is displaced.
            self._system.replace(temporary, target)
            return None
        try:
            displaced, _ = self.read(temporary)
        except OSError as error:
            raise WriteUncertain(
                f"{shown(target)} was changed. What stood there before is kept as "
                f"{temporary}, since it could not be read ({error.strerror})."
            ) from error
        if displaced == expected:
            # Flushed together with the exchange. Of the two, a crash can keep either alone: without
            # the exchange it is the new file that has lost its name, and the old one stands.
            self._discard_displaced(temporary, target, expected)
        else:
            self._displaced[target] = temporary, displaced
        return displaced

    def _replace_and_read(self, temporary: Path, target: Path) -> bytes | None:
        """Where names cannot be exchanged: open, the old file can be read once more after it.

        Between opening and replacing lies the one moment in which a third file could come and go.
        """
        try:
            old = os.open(target, READ | NO_WAIT)
        except FileNotFoundError:
            self._system.replace(temporary, target)
            return None
        with os.fdopen(old, "rb") as file:
            self._system.replace(temporary, target)
            try:
                displaced = file.read()
            except OSError as error:
                raise WriteUncertain(
                    f"{shown(target)} was changed, and whether another program had changed it "
                    f"just before could not be read ({error.strerror})."
                ) from error
            if self._late is not None:
                with contextlib.suppress(OSError):  # No more files may be open.
                    self._late.hold(os.dup(old), target, displaced)
            return displaced

    def _write_new(
        self,
        path: Path,
        data: bytes,
        mode: int,
        *,
        like: os.stat_result | None = None,
        flush: bool = True,
    ) -> Signature:
        """`like` is the file whose place it will take: its mode and owner are kept."""
        fd = self._system.open(path, WRITE_NEW, mode)
        try:
            if like is not None:
                self._keep_mode_and_owner(fd, like)
            self._write_all(fd, data)
            if flush:
                self._flush(fd)
            return signature_of(os.fstat(fd))
        except OSError:
            self._discard(path)
            raise
        finally:
            os.close(fd)

    def _keep_mode_and_owner(self, fd: int, like: os.stat_result) -> None:
        own = os.fstat(fd)
        if (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid):
            # Only root may give a file away. That the bytes are kept counts for more.
            with contextlib.suppress(PermissionError):
                os.fchown(fd, like.st_uid, like.st_gid)
        self._system.fchmod(fd, stat.S_IMODE(like.st_mode))

    def _open_to_append(self, path: Path) -> int:
        # O_APPEND: the system puts the bytes at the end as it is then, whoever else appends.
        flags = READ_AND_WRITE | os.O_APPEND | NO_WAIT
        try:
            return self._system.open(path, flags)
        except FileNotFoundError:
            return self._system.open(path, flags | os.O_CREAT, self._mode_below(path.parent))

    def _flush_name(self, path: Path, fd: int) -> None:
        """Before the first bytes: lines last no longer than the name that leads to them.

        Another program may have made the file, or given it this name, and flushed nothing; so may
        one of us that was killed. What is known to be flushed is remembered.
        """
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise _not_regular(path)
        if self._named.get(path) == status.st_ino:
            return
        self._flush_folder(path.parent)
        if len(self._named) >= _MAX_NAMED:
            self._named.clear()
        self._named[path] = status.st_ino

    def _append(self, path: Path, fd: int, data: bytes) -> Added:
        lines = data
        size, ends_line = _end(fd)
        if not ends_line:
            data = b"\n" + data
        try:
            if self._system.write(fd, data) != len(data):
                # Never a second write: another process's line could come between the halves.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._cut_back(fd, size, data, because=error)
            raise

        def flush() -> Signature:
            try:
                self._flush(fd)
            except OSError as error:
                self._cut_back(fd, size, data, because=error)
                raise
            return self._under_its_name(path, fd, lines)

        return Added(path, fd, flush)

    def _under_its_name(self, path: Path, fd: int, lines: bytes) -> Signature:
        """What the file is that has the name now; lines that it does not hold are added to it.

        Race: `sed -i`, git and others read a file and rename what they made of it over that. What
        was added in between went into a file without a name.
        """
        ours, there = os.fstat(fd), _status(path)
        is_moved = there is None and ours.st_nlink > 0  # With its folder: our lines are in it.
        if is_moved or (there is not None and os.path.samestat(ours, there)):
            return signature_of(ours)
        if there is None or lines not in self.read(path)[0]:
            return self.append(path, lines)
        fd = self._system.open(path, READ_AND_WRITE | NO_WAIT)
        try:
            self._flush(fd)
            return signature_of(os.fstat(fd))
        finally:
            os.close(fd)

    def _cut_back(self, fd: int, size: int, data: bytes, *, because: OSError) -> None:
        """Take back what a failed append left. Raises WriteUncertain when that cannot be done."""
        try:
            tail = os.pread(fd, len(data) + 1, size)
            if not data.startswith(tail) or os.fstat(fd).st_size > size + len(data):
                raise OSError(errno.EBUSY, "another process wrote to it meanwhile")
            if tail:
                # Race: a line that another process adds right here would be cut off. The lock
                # between processes is what closes this gap for our own kind.
                self._system.ftruncate(fd, size)
            self._flush(fd)
        except OSError as error:
            raise WriteUncertain(
                f"A write failed ({because.strerror}) and could not be taken back "
                f"({error.strerror}). Read the messages before you repeat the request."
            ) from because

    def _write_all(self, fd: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = self._system.write(fd, bytes(rest))
            if written == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            rest = rest[written:]

    def _flush(self, fd: int) -> None:
        if self._fsync:
            self._system.fsync(fd)

    def _flush_folder(self, folder: Path) -> None:
        if not self._fsync or FOLDER is None:
            return
        fd = self._system.open(folder, READ | FOLDER)
        try:
            self._flush(fd)
        finally:
            os.close(fd)

    def _discard(self, temporary: Path) -> None:
        # What cannot be removed is left: its name says what it is, and nothing lists it.
        with contextlib.suppress(OSError):
            self._system.unlink(temporary)

    def _discard_displaced(self, temporary: Path, target: Path, seen: bytes) -> None:
        """Its name goes, unless somebody can still write to it."""
        if self._late is None:
            self._discard(temporary)
            return
        try:
            fd = os.open(temporary, READ)
        except OSError:  # No more files may be open.
            self._discard(temporary)
            return
        if not self._late.hold(fd, target, seen, name=temporary):
            self._discard(temporary)

    def _mode_below(self, folder: Path) -> int:
        """Owner only, unless the folder itself is open to others. The umask narrows it further."""
        return 0o600 | self._folder_mode_below(folder) & 0o666

    def _folder_mode_below(self, folder: Path) -> int:
        return 0o700 | folder.stat().st_mode & 0o777


def _read_all(fd: int, size: int) -> bytes:
    """To the end. Nearly always that is `size`: one call, since a file of 300 bytes is the rule."""
    data = os.read(fd, size + 1)
    while len(data) > size and (more := os.read(fd, size + 1)):
        data, size = data + more, len(data) + len(more)
    return data


def _end(fd: int) -> tuple[int, bool]:
    """Of how many bytes it is, and whether another line can begin there.

    Race: what another program writes comes to be seen page by page, and a line seen so must not be
    ended for it: today's Jan shows nothing of a thread with a blank line.
    """
    deadline = time.monotonic() + 4 * TICK
    while True:
        status = os.fstat(fd)
        ends_line = not status.st_size or os.pread(fd, 1, status.st_size - 1) == b"\n"
        is_old = now() - status.st_mtime > TICK or time.monotonic() > deadline
        if ends_line or is_old:
            return status.st_size, ends_line
        time.sleep(TICK / 10)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _not_regular(path: Path, status: os.stat_result | None = None) -> OSError:
    if status is not None and stat.S_ISDIR(status.st_mode):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return OSError(errno.EINVAL, "it is not a regular file", str(path))
