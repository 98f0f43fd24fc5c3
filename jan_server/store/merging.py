"""Replacing a file that others may write to at the same moment.

Our own kind waits for a lock. An editor, a sync program and Jan itself do not: what they wrote
between our read and our write is displaced by it, and comes back from the file layer. It is put
beside the file first, so that it is on the disk at every moment. Then our change is done to it, and
what comes of that takes the file's place; where that cannot be, the bytes stay beside the file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from jan_server.store import scanner
from jan_server.store.conflicts import keep_conflict, put_beside
from jan_server.store.document import edited
from jan_server.store.files import Files
from jan_server.store.scanner import same
from jan_server.store.signature import Signature

logger = logging.getLogger(__name__)

_MISSING = object()

Merge = Callable[[bytes], bytes | None]
"""What others wrote, with our change; None when both cannot be."""


class Written(NamedTuple):
    """What a file is then; whether it holds our bytes, or what was merged of them."""

    signature: Signature
    is_ours: bool


def replace(files: Files, path: Path, ours: bytes, *, base: bytes, merge: Merge) -> Written:
    """Give a file new bytes, made of `base`, which was just read.

    Callers hold the resource's lock. Raises what Files.replace and Files.create raise.
    """
    signature, theirs = files.replace(path, ours, expected=base)
    if theirs is None:
        return Written(signature, is_ours=True)
    copy = keep_conflict(files, path, theirs)
    merged = merge(theirs)
    if merged is None:
        _tell(path, copy)
        return Written(signature, is_ours=True)
    signature, again = files.replace(path, merged, expected=ours)
    if again is None:
        files.remove(copy)  # It is merged.
    else:
        _tell(path, copy)
        _tell(path, keep_conflict(files, path, again))
    return Written(signature, is_ours=False)


def give_back(files: Files, path: Path, seen: bytes, later: bytes) -> Callable[[], None] | None:
    """What a program wrote to a file whose name `path` has another one since then (late.py).

    All of it is kept beside the file. Lines that it added behind those that were `seen` are added
    to the file, too: what is answered then is to be called a moment later, and takes that copy away
    if they are still there. The same program may be about to write over them.

    Callers hold the resource's lock. Raises what Files.append and Files.create raise.
    """
    is_log = path.suffix == ".jsonl" and path.exists()
    added = _added_lines(seen, later) if is_log else None
    missing = _missing(files, path, added or ())
    if added is not None and not missing:
        return None
    copy = put_beside(files, path, later if added is None else _joined(missing))
    if added is None:
        _tell(path, copy)
        return None
    files.append(path, _joined(missing))

    def settle() -> None:
        if _missing(files, path, missing):
            _tell(path, copy)
        else:
            files.remove(copy)

    return settle


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


def _added_lines(seen: bytes, later: bytes) -> list[bytes] | None:
    if not seen.endswith(b"\n") or not later.startswith(seen):
        return None
    return [line for line in later[len(seen) :].split(b"\n") if line.strip()]


def _missing(files: Files, path: Path, lines: Sequence[bytes]) -> list[bytes]:
    there = set(files.read(path)[0].split(b"\n")) if lines else set()
    return [line for line in lines if line not in there]


def _joined(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _tell(path: Path, copy: Path) -> None:
    logger.warning("%s was changed while we changed it; see %s", path.name, copy)
