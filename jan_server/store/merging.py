"""Replacing a file that others may write to at the same moment.

Our own kind waits for a lock. An editor, a sync program and Jan itself do not. What they wrote
between our read and our write is looked for just before the write: our change is done to that then.
What comes even later is displaced by our write, and comes back from the file layer. It is put
beside the file first, so that it is on the disk at every moment. Then our change is done to it, and
what comes of that takes the file's place; where that cannot be, the bytes stay beside the file.
"""

from __future__ import annotations

import logging
from collections import Counter
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

ATTEMPTS = 4
"""How often what others wrote meanwhile is merged before the file is replaced in any case."""

LINES = ".jsonl"

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
    is_ours, replaced = True, files.try_replace(path, ours, expected=base)
    for _ in range(ATTEMPTS):
        theirs = _read(files, path) if replaced is None else None
        merged = merge(theirs) if theirs is not None else None
        if theirs is None or merged is None:
            break
        base, ours, is_ours = theirs, merged, False
        replaced = files.try_replace(path, ours, expected=base)
    signature, displaced = replaced or files.replace(path, ours, expected=base)
    if displaced is None:
        return Written(signature, is_ours)
    copy = keep_conflict(files, path, displaced)
    merged = merge(displaced)
    if merged is None:
        _tell(path, copy)
        return Written(signature, is_ours)
    signature, again = files.replace(path, merged, expected=ours)
    if again is None:
        added = _missing(base, _lines(displaced)) if path.suffix == LINES else ()
        _remove_if_kept(files, path, copy, added, beside=base)
    else:
        _tell(path, copy)
        _tell(path, keep_conflict(files, path, again))
    return Written(signature, is_ours=False)


def give_back(files: Files, path: Path, seen: bytes, later: bytes) -> None:
    """What a program wrote to a file whose name `path` has another one since then (late.py).

    It is kept beside the file. When it is but lines behind those that were `seen`, they are added
    to the file, too, and the copy goes if they are still there a moment later.

    Callers hold the resource's lock. Raises what Files.append and Files.create raise.
    """
    is_longer = later.startswith(seen) and seen.endswith(b"\n")
    if path.suffix != LINES or not is_longer or not path.exists():
        _tell(path, put_beside(files, path, later))
        return
    there = _read(files, path) or b""
    missing = _missing(there, _lines(later[len(seen) :]), beside=seen)
    if missing:
        copy = put_beside(files, path, _joined(missing))
        files.append(path, _joined(missing))
        _remove_if_kept(files, path, copy, missing, beside=there)


def _remove_if_kept(
    files: Files, path: Path, copy: Path, lines: Sequence[bytes], *, beside: bytes
) -> None:
    """It is merged. But a program that read the file while it was hidden may write that back: so
    the copy stays for a moment, and for good when lines of it are gone by then.
    """

    def settle() -> None:
        if _missing(_read(files, path) or b"", lines, beside=beside):
            _tell(path, copy)
        else:
            files.remove(copy)

    if lines:
        files.afterwards(settle)
    else:
        files.remove(copy)


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


def _read(files: Files, path: Path) -> bytes | None:
    try:
        return files.read(path)[0]
    except OSError:
        return None


def _lines(raw: bytes) -> list[bytes]:
    return [line for line in raw.split(b"\n") if line.strip()]


def _missing(raw: bytes, lines: Iterable[bytes], *, beside: bytes = b"") -> list[bytes]:
    """Those of the lines that are not there beside the ones that were: two may be alike."""
    there = Counter(_lines(raw))
    there.subtract(_lines(beside))
    missing = []
    for line in lines:
        there[line] -= 1
        if there[line] < 0:
            missing.append(line)
    return missing


def _joined(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _tell(path: Path, copy: Path) -> None:
    logger.warning("%s was changed while we changed it; see %s", path.name, copy)
