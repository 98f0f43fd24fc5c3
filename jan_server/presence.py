"""Which servers run on a data folder: each says so in a file of its own, for programs and people.

    .jan_server/servers/<ULID>.json   {"url": "http://127.0.0.1:1337", "pid": 4711, ...}

(With --read-only it lies where all that is ours lies then.) The server keeps the file locked, and
the system lets go of the lock however a process ends: a file that nobody holds is what a killed
server left, says nothing, and is removed by whoever looks next.

Not promised: that the server answers at this moment. Nor that a server is found whose file somebody
deleted, or that runs where this machine's locks do not reach.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import portalocker
from portalocker import LockFlags
from portalocker.exceptions import AlreadyLocked, LockException

from jan_server import __version__, ids
from jan_server.errors import SettingsInvalid
from jan_server.store import Store
from jan_server.store.paths import WORK_FOLDER
from jan_server.store.read_only import own_folder
from jan_server.store.replacing import TEMPORARY

log = logging.getLogger(__name__)

FOLDER = "servers"
MOST_BYTES = 65_536


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """A server that runs: `url` reaches it from this machine, `started` is ISO 8601, in UTC."""

    url: str
    pid: int
    started: str
    version: str = __version__


@contextmanager
def announced(store: Store, url: str) -> Iterator[None]:
    """For the block it is known that this process serves the store's folder at `url`.

    A server that cannot say that it is there serves all the same.
    """
    folder = store.work_path(FOLDER)
    path = folder / f"{ids.new_message_id()}.json"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = _written(path, Presence(url=url, pid=os.getpid(), started=_now()))
    except (OSError, LockException) as error:
        log.warning("commands will not find this server: %s cannot be written: %s", path, error)
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(fd)


def find(data_folder: Path) -> Presence | None:
    """The server of this folder that was started last, of those that still run. Reads the disk."""
    for folder in _folders(Path(os.path.realpath(data_folder))):
        for path in sorted(folder.glob("*.json"), reverse=True):
            if presence := _read(path):
                return presence
    return None


def _folders(root: Path) -> Iterator[Path]:
    """Whether a server is read-only is its own affair: it is looked for in both places."""
    yield root / WORK_FOLDER / FOLDER
    with contextlib.suppress(SettingsInvalid):
        yield own_folder(root) / FOLDER


def _written(path: Path, presence: Presence) -> int:
    """The descriptor that holds the lock. The file gets its name when it is locked and whole."""
    new = path.with_name(TEMPORARY + path.name)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        portalocker.lock(fd, LockFlags.EXCLUSIVE | LockFlags.NON_BLOCKING)
        os.write(fd, msgspec.json.format(msgspec.json.encode(presence), indent=2) + b"\n")
        new.rename(path)
    except BaseException:
        os.close(fd)
        new.unlink(missing_ok=True)
        raise
    return fd


def _read(path: Path) -> Presence | None:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:  # It ended this moment, or is another user's.
        return None
    try:
        if not _is_held(fd):
            path.unlink()
            return None
        return msgspec.json.decode(os.read(fd, MOST_BYTES), type=Presence)
    except (OSError, msgspec.DecodeError):
        return None
    finally:
        os.close(fd)


def _is_held(fd: int) -> bool:
    try:
        # Shared: several may look at once, and are not to take each other for the server.
        portalocker.lock(fd, LockFlags.SHARED | LockFlags.NON_BLOCKING)
    except AlreadyLocked:
        return True
    return False


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
