"""Replacing a file: at every moment it has its old contents or its new ones, whole.

The strategy is the usual one: new contents go to a temporary file beside the target, are flushed,
and take the target's name in one step; then the directory is flushed, since a name is the
directory's and not the file's. Were the name first, a power cut could leave it to an empty file.

What another program wrote since the file was read comes to light in that very step: where the
system can let two names change places, what is displaced still has a name, and is read under it.
Elsewhere it is kept open over the step. Bytes that were not expected have a file until `let_go`,
so that they are on the disk until they are kept elsewhere. Whoever has the displaced file open can
write to it even then: late.py looks after those.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jan_server.errors import WriteUncertain
from jan_server.store.disk import Disk, mode_below, not_regular, read, status_of
from jan_server.store.failures import shown, translated, uncertain, write_error
from jan_server.store.late import LateWriters
from jan_server.store.signature import Signature
from jan_server.store.system import NO_WAIT, READ, READ_AND_WRITE, CannotExchange

TEMPORARY = ".jan_server-"
"""Begins the name of every file that is not whole yet. Jan's and our own lists skip it, the watcher
too; one line of a .gitignore, `.jan_server*`, names these files and our own folder."""


class Replaced(NamedTuple):
    """What a file is since it was replaced, and what it had till then if that was not expected."""

    signature: Signature
    displaced: bytes | None


class Replacing:
    """What Files does to files that take another's name. `late` looks after what is displaced."""

    def __init__(self, disk: Disk, *, late: LateWriters | None) -> None:
        self._disk = disk
        self._late = late
        self._displaced: dict[Path, tuple[Path, bytes]] = {}

    def __repr__(self) -> str:
        return f"<Replacing, {len(self._displaced)} displaced files are kept>"

    def replace(self, path: Path, data: bytes, *, expected: bytes | None = None) -> Replaced:
        """As Files.replace."""
        target = Path(os.path.realpath(path))
        return self._put(*self._prepared(target, data), target, expected)

    def try_replace(self, path: Path, data: bytes, *, expected: bytes) -> Replaced | None:
        """As Files.try_replace."""
        target = Path(os.path.realpath(path))
        temporary, signature = self._prepared(target, data)
        if _holds(target, expected):
            return self._put(temporary, signature, target, expected)
        self._disk.discard(temporary)
        return None

    def replace_unsynced(self, path: Path, data: bytes) -> None:
        """As Files.replace_unsynced."""
        target = Path(os.path.realpath(path))
        with translated(target):
            temporary, _ = self._write_temporary(target, data, flush=False)
        self._take_the_name(temporary, target, None)

    def publish(self, temporary: Path, target: Path) -> None:
        """As Files.publish."""
        with translated(target):
            fd = self._disk.system.open(temporary, READ_AND_WRITE)
            try:
                self._disk.flush(fd)
            finally:
                os.close(fd)
            self._disk.system.replace(temporary, target)
        with uncertain(target):
            self._disk.flush_folder(target.parent)

    def let_go(self, path: Path) -> None:
        """As Files.let_go."""
        target = Path(os.path.realpath(path))
        if target in self._displaced:
            temporary, seen = self._displaced.pop(target)
            self._discard_displaced(temporary, target, seen)

    def afterwards(self, what: Callable[[], object]) -> None:
        """As Files.afterwards."""
        if self._late is None:
            what()
        else:
            self._late.afterwards(what)

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
            self._disk.flush_folder(target.parent)
        return Replaced(signature, None if displaced == expected else displaced)

    def _write_temporary(
        self, target: Path, data: bytes, *, flush: bool = True
    ) -> tuple[Path, Signature]:
        temporary = target.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
        old = status_of(target)
        if old is not None and not stat.S_ISREG(old.st_mode):
            raise not_regular(target)
        mode = mode_below(target.parent)
        return temporary, self._disk.write_new(temporary, data, mode, like=old, flush=flush)

    def _take_the_name(self, temporary: Path, target: Path, expected: bytes | None) -> bytes | None:
        """The file gets the target's name. Unless None is expected: what that had till then."""
        try:
            if expected is not None:
                return self._exchange(temporary, target, expected)
            self._disk.system.replace(temporary, target)
        except OSError as error:
            self._disk.discard(temporary)
            raise write_error(target, error) from error
        return None

    def _exchange(self, temporary: Path, target: Path, expected: bytes) -> bytes | None:
        """Both names change places in one step, so that what is displaced still has a name.

        After a crash, or when it cannot be read, the old file lies there as a temporary one.
        """
        try:
            self._disk.system.exchange(temporary, target)
        except CannotExchange:
            return self._replace_and_read(temporary, target)
        except FileNotFoundError:  # Deleted since: nothing is displaced.
            self._disk.system.replace(temporary, target)
            return None
        try:
            displaced, _ = read(temporary)
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
            self._disk.system.replace(temporary, target)
            return None
        with os.fdopen(old, "rb") as file:
            self._disk.system.replace(temporary, target)
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

    def _discard_displaced(self, temporary: Path, target: Path, seen: bytes) -> None:
        """Its name goes, unless somebody can still write to it."""
        if self._late is None:
            self._disk.discard(temporary)
            return
        try:
            fd = os.open(temporary, READ)
        except OSError:  # No more files may be open.
            self._disk.discard(temporary)
            return
        if not self._late.hold(fd, target, seen, name=temporary):
            self._disk.discard(temporary)


def _holds(path: Path, data: bytes) -> bool:
    try:
        return read(path)[0] == data
    except OSError:
        return False
