"""The folders that are looked at, each with the names in it: one listing for all checks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from jan_server.store.paths import Place, is_listed


class Spot(NamedTuple):
    """One folder of a kind; `where` is its path below the kind's own, empty for that itself.

    `error` says why it could not be listed. What it leads to is ours to change only if `is_ours`.
    """

    place: Place
    where: str
    entries: Mapping[str, os.DirEntry[str]]
    error: str
    is_resource: bool
    is_ours: bool

    @property
    def path(self) -> Path:
        return self.place.path / self.where

    @property
    def lock(self) -> str:
        """The name of the lock that whoever changes something here holds."""
        return f"{self.place.kind.folder}/{self.where}".removesuffix("/")

    def shown(self, name: str = "") -> str:
        """A name in it, or itself, as people are told it."""
        return "/".join(filter(None, (self.place.kind.folder, self.where, name)))

    def can_read(self, name: str) -> bool:
        """Whether there is such a file, and reading it is all that is left to try."""
        entry = self.entries.get(name)
        return entry is not None and not is_odd(entry) and not self.leads_out(entry)

    def leads_out(self, entry: os.DirEntry[str]) -> bool:
        return entry.is_symlink() and not self.place.is_inside(Path(entry.path))

    def folders(self) -> Iterator[str]:
        """The names of the folders in it that could be a resource's, or hold some."""
        for name, entry in self.entries.items():
            if is_listed(name) and is_folder(entry) and not self.leads_out(entry):
                yield name


def spots(place: Place, where: str = "") -> Iterator[Spot]:
    """The kind's own folder and those below it, down to the resources, in the order of names."""
    path = place.path / where
    entries, error = _listed(path)
    is_resource = bool(where) and (
        place.kind.document in entries or (not error and place.kind.counts_without(path))
    )
    spot = Spot(place, where, entries, error, is_resource, _is_ours(place, path))
    yield spot
    depth = where.count("/") + bool(where)
    if not is_resource and depth < place.kind.depth and _may_follow(spot):
        for name in spot.folders():
            yield from spots(place, f"{where}/{name}".removeprefix("/"))


def is_odd(entry: os.DirEntry[str]) -> bool:
    """Neither a file nor a folder: a FIFO, a socket, a link that leads nowhere."""
    try:
        return not entry.is_file() and not entry.is_dir()
    except OSError:
        return True


def leads_nowhere(entry: os.DirEntry[str]) -> bool:
    """A link to what is not there, to itself, or to where we may not look."""
    try:
        return entry.is_symlink() and not entry.stat()
    except OSError:
        return True


def is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _may_follow(spot: Spot) -> bool:
    """As the server: a link to a folder of folders may lead round in a circle."""
    return not spot.where or spot.place.kind.layout == "parts" or not spot.path.is_symlink()


def _listed(path: Path) -> tuple[dict[str, os.DirEntry[str]], str]:
    try:
        with os.scandir(path) as entries:
            found = {entry.name: entry for entry in entries}
    except FileNotFoundError:
        return {}, ""
    except OSError as error:
        return {}, error.strerror or type(error).__name__
    return dict(sorted(found.items(), key=lambda item: os.fsencode(item[0]))), ""


def _is_ours(place: Place, path: Path) -> bool:
    """Models may be linked to from anywhere: they are read there, and not changed."""
    return place.kind.is_confined or Path(os.path.realpath(path)).is_relative_to(place.path)
