"""What the names in a folder tell: what is no file, leads away, or was left behind."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from jan_server import ids
from jan_server.store.conflicts import is_conflict
from jan_server.store.doctor.found import Found, Mend, found
from jan_server.store.doctor.spots import Spot, is_folder, is_odd, leads_nowhere
from jan_server.store.files import Files
from jan_server.store.paths import MESSAGES, RESPONSES, RUNS, WORK_FOLDER
from jan_server.store.replacing import TEMPORARY

STALE = 3600.0
"""Seconds after which a temporary file is one that nobody will finish."""

LARGE = 64 * 2**20
"""Bytes. Copies beyond it are not compared."""

_CONFLICT = re.compile(
    r"(?P<stem>.+?)(?:\.(?:sync-)?conflict-[^.]+| \([^()]+\)|_conflict-[\d-]+|_[A-Z]+_\d+)"
    r"(?P<extension>\.[^.]+)?|(?P<whole>.+)\.orig",
    re.DOTALL | re.IGNORECASE,
)
"""What `conflicts.py` lists, with the parts that make the name of the file beside it."""


def check_names(spot: Spot, files: Files) -> Iterator[Found]:
    if spot.error:
        yield found("unreadable", spot.shown(), f"cannot be listed ({spot.error})")
    for name, entry in spot.entries.items():
        yield from _name(spot, entry)
        if name.startswith(TEMPORARY):
            yield from check_leftover(Path(entry.path), spot.shown(name), spot)
        elif not name.startswith("."):
            yield from _thing(spot, entry)
            yield from _conflict(spot, name, files)


def check_leftover(path: Path, shown: str, spot: Spot | None = None) -> Iterator[Found]:
    """Something of ours that was to be gone again; `spot` is where, if not in our own folder."""
    if not is_stale(path):
        return
    mend = Mend("leftover", path, spot.lock if spot else WORK_FOLDER)
    is_ours = spot is None or spot.is_ours
    yield found("leftover", shown, "was left behind unfinished", mend=mend if is_ours else None)


def is_stale(path: Path) -> bool:
    """Whether nobody has written to it, or to anything in it, for an hour."""
    try:
        below = () if path.is_symlink() else path.rglob("*")
        newest = max(found.lstat().st_mtime for found in (path, *below))
    except OSError:  # It is gone already, or cannot be looked into.
        return False
    return bool(time.time() - newest > STALE)


def original_of(name: str) -> str:
    """The name of the file that a conflict copy was made of."""
    match = _CONFLICT.fullmatch(name)
    return (match["whole"] or f"{match['stem']}{match['extension'] or ''}") if match else name


def are_equal(one: Path, other: Path, files: Files) -> bool:
    try:
        size = one.stat().st_size
        if size > LARGE or size != other.stat().st_size:
            return False
        return files.read(one)[0] == files.read(other)[0]
    except OSError:
        return False


def _name(spot: Spot, entry: os.DirEntry[str]) -> Iterator[Found]:
    """Of files only what ends a watch; of folders that could be a resource's, what hides them."""
    shown, name = spot.shown(entry.name), entry.name
    if not _is_utf8(name):
        yield found("name_not_utf8", shown, "has a name that is not UTF-8")
    elif not spot.is_resource and is_folder(entry) and not ids.is_lookup_id(name):
        yield found("unusable_name", shown, "has a name that nothing can be asked by")


def _is_utf8(name: str) -> bool:
    try:
        os.fsencode(name).decode()
    except UnicodeError:
        return False
    return True


def _thing(spot: Spot, entry: os.DirEntry[str]) -> Iterator[Found]:
    shown = spot.shown(entry.name)
    if leads_nowhere(entry):
        reason = f"is a link to {Path(entry.path).readlink()}, which cannot be reached"
        yield found("link_leads_nowhere", shown, reason)
    elif is_odd(entry):
        yield found("special_file", shown, "is neither a file nor a folder")
    elif _is_used(spot, entry) and spot.leads_out(entry):
        yield found("link_leads_out", shown, "is a link that leads out of the data folder")


def _is_used(spot: Spot, entry: os.DirEntry[str]) -> bool:
    """Whether it would be read if it lay here: pictures beside a thread are nobody's concern."""
    if spot.is_resource:
        return entry.name in (spot.place.kind.document, MESSAGES, RUNS, RESPONSES)
    return is_folder(entry)


def _conflict(spot: Spot, name: str, files: Files) -> Iterator[Found]:
    if not is_conflict(name) or is_folder(spot.entries[name]):
        return
    original = original_of(name)
    shown, copy = spot.shown(name), spot.path / name
    if are_equal(copy, spot.path / original, files):
        mend = Mend("copy", copy, spot.lock) if spot.is_ours else None
        yield found("equal_conflict_copy", shown, f"holds the same as {original}", mend=mend)
    else:
        yield found("conflict_copy", shown, f"is another version of {original}")
