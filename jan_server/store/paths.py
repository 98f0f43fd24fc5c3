"""Where things lie in the data folder, and which names are looked at.

A name that a client sends is never joined to a path: it is compared with the names that a folder
has, and the path is made of the folder's own name. Threads and assistants must also lie inside the
data folder when links are followed; models may lie anywhere, they are only read.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from jan_server import ids
from jan_server.store.files import Signature, now, signature_of
from jan_server.store.weights import has_weights, is_file

WORK_FOLDER = ".jan_server"
"""Ours, in the data folder: settings, trash, fitted copies, download states."""

LAYOUT = ("assistants", "models", "threads", "engines", "settings", "logs")
"""What a fresh data folder gets: Jan 0.4's layout."""

MESSAGES = "messages.jsonl"


class Kind(NamedTuple):
    """A kind of resource: one folder each, in a folder of their own, with one JSON document.

    `counts_without` says of a folder that lacks the document whether it is served as if that were
    `{}`. Nested: ids have parts, folders lie in folders. Confined: links may not lead outside.
    """

    name: str
    folder: str
    document: str
    counts_without: Callable[[Path], bool]
    is_nested: bool = False
    is_confined: bool = True


def _has_messages(folder: Path) -> bool:
    return is_file(folder / MESSAGES)


def _never(_folder: Path) -> bool:
    return False


THREADS = Kind("thread", "threads", "thread.json", _has_messages)
ASSISTANTS = Kind("assistant", "assistants", "assistant.json", _never)
MODELS = Kind("model", "models", "model.json", has_weights, is_nested=True, is_confined=False)


def is_listed(name: str) -> bool:
    """Whether a name in a folder can be a resource's.

    Not: names that begin with a dot (`.DS_Store`, `.stfolder`, our temporary files), an editor's
    backup, a name that is not UTF-8 or holds control characters.
    """
    return not name.startswith(".") and not name.endswith("~") and ids.is_lookup_id(name)


class _Listing(NamedTuple):
    signature: Signature
    is_settled: bool
    names: frozenset[str]


class Place:
    """The folder of one kind. The data folder and this folder are resolved once and are roots."""

    def __init__(self, root: Path, kind: Kind) -> None:
        self.kind = kind
        self.path = Path(os.path.realpath(root / kind.folder))
        self._roots = (root, self.path)
        self._listing: _Listing | None = None

    def __repr__(self) -> str:
        return f"<Place {self.kind.folder} at {self.path}>"

    def ids(self) -> Iterator[str]:
        """The ids of all folders that hold a resource, in the order of their bytes."""
        for name in sorted(self._names(), key=os.fsencode):
            yield from self._ids_below(self.path / name, name, depth=1)

    def find(self, id: str) -> Path | None:
        """The folder of that id, by comparison with the names that there are."""
        folder = self.path
        for part in id.split("/") if self.kind.is_nested else [id]:
            names = self._names() if folder == self.path else _names_in(folder)
            name = _matching(part, names)
            if name is None:
                return None
            folder = folder / name
        return folder if self.holds(folder) else None

    def holds(self, folder: Path) -> bool:
        """Whether the folder is a resource of this kind, and lies where it may."""
        if folder.is_symlink() and not self.is_inside(folder):
            return False
        document = folder / self.kind.document
        if os.path.lexists(document):
            return not document.is_symlink() or self.is_inside(document)
        return self.kind.counts_without(folder)

    def is_inside(self, path: Path) -> bool:
        """Whether a path, links followed, is one that this kind may use."""
        if not self.kind.is_confined:
            return True
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(root) for root in self._roots)

    def id_of(self, folder: Path) -> str:
        return folder.relative_to(self.path).as_posix()

    def shown(self, path: Path) -> str:
        """A path as people are told it: from the data folder on."""
        return f"{self.kind.folder}/{path.relative_to(self.path).as_posix()}"

    def _ids_below(self, folder: Path, id: str, *, depth: int) -> Iterator[str]:
        if self.holds(folder):
            yield id
        elif self.kind.is_nested and depth < ids.MODEL_PARTS:
            for name in sorted(_names_in(folder), key=os.fsencode):
                yield from self._ids_below(folder / name, f"{id}/{name}", depth=depth + 1)

    def _names(self) -> frozenset[str]:
        """The names in the folder; read again when its signature says so, or may not say so."""
        try:
            signature = signature_of(self.path.stat())
        except OSError:
            return frozenset()
        old = self._listing
        if old is not None and old.is_settled and old.signature == signature:
            return old.names
        # The clock before the listing: a name that is added meanwhile makes it unsettled.
        is_settled = signature.is_settled(now())
        self._listing = _Listing(signature, is_settled, _names_in(self.path))
        return self._listing.names


def _names_in(folder: Path) -> frozenset[str]:
    try:
        return frozenset(name for name in os.listdir(folder) if is_listed(name))  # noqa: PTH208
    except OSError:
        return frozenset()


def _matching(text: str, names: frozenset[str]) -> str | None:
    """The name that is `text`, else the only one that is it but for Unicode's composition.

    macOS stores `Übersicht` decomposed; a person types it composed.
    """
    if text in names:
        return text
    if text.isascii():
        return None
    composed = unicodedata.normalize("NFC", text)
    alike = [name for name in names if unicodedata.normalize("NFC", name) == composed]
    return alike[0] if len(alike) == 1 else None
