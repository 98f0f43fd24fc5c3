"""Our own folder: what was left behind in it, and how much the trash holds.

Links are not followed: what they lead to we have not made.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from jan_server.store.deletion import time_of
from jan_server.store.doctor.found import Found
from jan_server.store.doctor.names import check_leftover
from jan_server.store.paths import WORK_FOLDER
from jan_server.store.replacing import TEMPORARY
from jan_server.types.diagnostics import TrashSize

_NOT_WORK = frozenset({"trash", "torn", "locks"})
"""What was put there is to stay there."""


def check_work_folder(root: Path) -> Iterator[Found]:
    folder = root / WORK_FOLDER
    for path in sorted(set(_unfinished(folder)), key=os.fsencode):
        yield from check_leftover(path, path.relative_to(root).as_posix())


def _unfinished(folder: Path) -> Iterator[Path]:
    """Folders that were being made, and whatever has the name of a temporary file."""
    for child in _children(folder):
        if child.name.startswith(TEMPORARY):
            yield child
        elif child.name == "new":
            yield from _children(child)
        elif child.name not in _NOT_WORK and not child.is_symlink():
            yield from child.rglob(f"{TEMPORARY}*")


def _children(folder: Path) -> list[Path]:
    try:
        return [] if folder.is_symlink() else list(folder.iterdir())
    except OSError:
        return []


def size_of(trash: Path) -> TrashSize:
    deletions = [path for path in _children(trash) if time_of(path.name) is not None]
    moments = [moment for path in deletions if (moment := time_of(path.name)) is not None]
    oldest = datetime.fromtimestamp(int(min(moments)), UTC) if moments else None
    return TrashSize(
        deletions=len(deletions),
        bytes=sum(map(_size, deletions)),
        oldest=oldest.isoformat().replace("+00:00", "Z") if oldest else None,
    )


def _size(path: Path) -> int:
    """Of all files below, and of links themselves."""
    if path.is_symlink():
        return 0
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):  # Removed this moment.
                total += Path(folder, name).lstat().st_size
    return total
