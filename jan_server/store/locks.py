"""One lock per thing that is changed: between the threads of this process, and between processes.

Between processes it is an advisory lock (flock on Linux and macOS) on a file of its own,
`.jan_server/locks/@<name>`, never on the thing itself: a file that is replaced would leave those
who wait on an inode that has no name any more, and Windows cannot replace one that is open. The
system lets go when a process ends, however it ends.

Rules:

- A thread takes the lock between processes with its outermost hold, and gives it back with that.
- The folder of the locks can be deleted while they are held. Whoever waits then finds out that the
  file has lost its name and begins again; meanwhile a holder of the old file and one of the new do
  not know of each other.
- We remove a file only while we have its lock: nobody holds it then, and who waits begins again.

Not promised: anything to programs that do not ask for the lock, an editor or Jan; nor an order
among those who wait.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote
from weakref import WeakValueDictionary

import portalocker
from portalocker import LockFlags
from portalocker.exceptions import AlreadyLocked, LockException

from jan_server.errors import DataFolderMissing, WriteFailed
from jan_server.store.failures import write_error
from jan_server.store.system import OPEN_OR_MAKE

_WAITING = LockFlags.EXCLUSIVE
_ASKING = LockFlags.EXCLUSIVE | LockFlags.NON_BLOCKING
_ATTEMPTS = 10
"""To make the folder of the locks, while others delete it."""

_LONGEST = 200
"""File systems allow 255 bytes for a name; a thread's may be 255 of UTF-8, 765 when quoted."""


class Locks:
    """Locks by name. `folder` is where their files are, two below the data folder, and is made
    when it is missing; None keeps them within this process and writes nothing.

    Whatever takes a lock raises NotWritable or WriteFailed when its file cannot be made or locked,
    and DataFolderMissing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._locks: WeakValueDictionary[str, _Lock] = WeakValueDictionary()
        self._claims: set[str] = set()

    def __repr__(self) -> str:
        return f"<Locks {len(self._locks) + len(self._claims)} in use>"

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Wait until nobody else holds that name, and hold it for the block.

        One thread may hold the same name more than once.
        """
        lock = self._lock(name)
        with lock.mutex:
            lock.enter(wait=True)
            try:
                yield
            finally:
                lock.leave()

    @contextmanager
    def try_hold(self, name: str) -> Iterator[bool]:
        """Hold it for the block if nobody else does; whether it is held. Never waits."""
        lock = self._lock(name)
        if not lock.mutex.acquire(blocking=False):
            yield False
            return
        try:
            if not lock.enter(wait=False):
                yield False
                return
            try:
                yield True
            finally:
                lock.leave()
        finally:
            lock.mutex.release()

    def claim(self, name: str) -> Claim | None:
        """Take that name for as long as one likes; None when it is taken. Never waits.

        Unlike a hold it belongs to no thread: it is not taken twice, and any thread may release
        it. A name is either held or claimed, not now this and now that.
        """
        with self._guard:
            if name in self._claims:
                return None
            self._claims.add(name)
        path, fd = self._path(name), None
        try:
            if path is not None:
                fd = _locked(path, wait=False)
        finally:
            if path is not None and fd is None:
                self._unclaim(name)
        if path is not None and fd is None:
            return None
        return Claim(name, path, fd, on_release=self._unclaim)

    def sweep(self) -> None:
        """Remove the files of all names that nobody has in this moment.

        Else one would stay for each thread that was ever there. Whoever comes next makes another.
        """
        if self._folder is None:
            return
        for path in self._folder.glob("@*"):
            fd = _locked(path, wait=False)
            if fd is not None:
                _forget(path)
                os.close(fd)

    def _unclaim(self, name: str) -> None:
        with self._guard:
            self._claims.discard(name)

    def _lock(self, name: str) -> _Lock:
        with self._guard:
            lock = self._locks.get(name)
            if lock is None:
                lock = self._locks[name] = _Lock(self._path(name))
            return lock

    def _path(self, name: str) -> Path | None:
        return None if self._folder is None else self._folder / file_name(name)


class Claim:
    """A name that was taken, until it is released."""

    def __init__(
        self, name: str, path: Path | None, fd: int | None, *, on_release: Callable[[str], None]
    ) -> None:
        self._name = name
        self._path = path
        self._fd = fd
        self._on_release = on_release
        self._is_held = True

    def __repr__(self) -> str:
        return f"<Claim {self._name}, {'held' if self._is_held else 'released'}>"

    def release(self, *, forget: bool = False) -> None:
        """Let go. `forget` removes the file too, for a name that will hardly be used again."""
        if not self._is_held:
            return
        self._is_held = False
        if self._fd is not None and self._path is not None:
            if forget:
                _forget(self._path)
            os.close(self._fd)
        self._on_release(self._name)


class _Lock:
    """One name. What is beside `mutex` belongs to the thread that holds it."""

    def __init__(self, path: Path | None) -> None:
        self.mutex = threading.RLock()
        self._path = path
        self._depth = 0
        self._fd: int | None = None

    def enter(self, *, wait: bool) -> bool:
        if self._depth == 0 and self._path is not None:
            self._fd = _locked(self._path, wait=wait)
            if self._fd is None:
                return False
        self._depth += 1
        return True

    def leave(self) -> None:
        self._depth -= 1
        if self._depth == 0 and self._fd is not None:
            os.close(self._fd)  # Gives the lock back.
            self._fd = None


@lru_cache(4096)
def file_name(name: str) -> str:
    """The name of a lock's file: another one for each name, and valid on every system.

    The `@` is for names that Windows keeps for itself, `con`.
    """
    quoted = f"@{quote(os.fsencode(name), safe='')}"
    if len(quoted) <= _LONGEST:
        return quoted
    return f"{quoted[: _LONGEST - 65]}~{hashlib.sha256(os.fsencode(name)).hexdigest()}"


def _locked(path: Path, *, wait: bool) -> int | None:
    """A descriptor of the file that has the lock. None when another has it, unless `wait`."""
    with _translated(path):
        while True:
            fd = _opened(path)
            try:
                is_ours = _lock(fd, wait=wait)
                is_lasting = is_ours and _has_the_name(fd, path)
            except BaseException:
                os.close(fd)
                raise
            if is_lasting:
                return fd
            os.close(fd)
            # Windows waits ten seconds at most, so whoever waits asks again.
            if not is_ours and not wait:
                return None


def _forget(path: Path) -> None:
    """While it is locked: who waits for this file sees that it has lost its name."""
    with contextlib.suppress(OSError):
        path.unlink()


def _opened(path: Path) -> int:
    for _ in range(_ATTEMPTS):
        try:
            return os.open(path, OPEN_OR_MAKE, 0o600)
        except FileNotFoundError:
            _make_folder(path.parent)
    return os.open(path, OPEN_OR_MAKE, 0o600)


def _make_folder(folder: Path) -> None:
    work = folder.parent
    # Never the data folder itself: where it was moved away, another may be mounted.
    if not work.parent.is_dir():
        raise DataFolderMissing(work.parent)
    for missing in (work, folder):
        with contextlib.suppress(FileExistsError):
            missing.mkdir(mode=0o700)


def _lock(fd: int, *, wait: bool) -> bool:
    try:
        portalocker.lock(fd, _WAITING if wait else _ASKING)
    except AlreadyLocked:
        return False
    return True


def _has_the_name(fd: int, path: Path) -> bool:
    """Whether whoever comes next will open this very file."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except LockException as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise WriteFailed(
            f"{path.parent} cannot be used for locks ({reason}), and without them two programs "
            "could write one file at a time. Put the data folder on a disk that has them."
        ) from error
    except OSError as error:
        raise write_error(path, error) from error
