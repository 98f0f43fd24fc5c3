"""Replacing a file that others may write to at the same moment.

Our own kind waits for a lock. An editor, a sync program and Jan itself do not: what they wrote
between our read and our write is displaced by it, and comes back from the file layer. It is put
beside the file first, so that it is on the disk at every moment. Then our change is done to it, and
what comes of that takes the file's place; where that cannot be, the bytes stay beside the file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jan_server.store import scanner
from jan_server.store.conflicts import keep_conflict
from jan_server.store.document import edited
from jan_server.store.files import Files
from jan_server.store.scanner import same

logger = logging.getLogger(__name__)

_MISSING = object()

Merge = Callable[[bytes], bytes | None]
"""What others wrote, with our change; None when both cannot be."""


def replace(files: Files, path: Path, ours: bytes, *, base: bytes, merge: Merge) -> None:
    """Give a file new bytes, made of `base`, which was just read.

    Callers hold the resource's lock. Raises what Files.replace and Files.create raise.
    """
    theirs = files.replace(path, ours, expected=base)
    if theirs is None:
        return
    copy = keep_conflict(files, path, theirs)
    merged = merge(theirs)
    if merged is None:
        _tell(path, copy)
        return
    again = files.replace(path, merged, expected=ours)
    if again is None:
        files.remove(copy)  # It is merged.
    else:
        _tell(path, copy)
        _tell(path, keep_conflict(files, path, again))


def of_keys(
    base: bytes, changes: Mapping[str, Any], *, moved: Mapping[str, Any] = MappingProxyType({})
) -> Merge:
    """For a document: both can be when theirs says of the keys that we change what `base` says.

    `moved` are changes that come along with every one; that others make them too is no conflict.
    """

    def merge(theirs: bytes) -> bytes | None:
        old, new = scanner.decode(base), scanner.decode(theirs)
        if not isinstance(old, dict) or not isinstance(new, dict):
            return None
        if not all(same(old.get(key, _MISSING), new.get(key, _MISSING)) for key in changes):
            return None
        return edited(theirs, {**changes, **moved})

    return merge


def giving_way(merge: Merge) -> Merge:
    """What others wrote stands as it is where both cannot be."""

    def merge_or_give_way(theirs: bytes) -> bytes:
        merged = merge(theirs)
        return theirs if merged is None else merged

    return merge_or_give_way


def _tell(path: Path, copy: Path) -> None:
    logger.warning("%s was changed while we changed it; see %s", path.name, copy)
