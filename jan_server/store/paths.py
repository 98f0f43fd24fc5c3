"""Where things lie in the data folder, and which names are looked at.

A name that a client sends is never joined to a path: it is compared with the names that a folder
has, and the path is made of the folder's own name. Threads and assistants must also lie inside the
data folder when links are followed; models may lie anywhere, they are only read.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from jan_server import ids
from jan_server.errors import FileUnreadable
from jan_server.events import ResourceKind
from jan_server.store.signature import Signature, now, signature_at
from jan_server.store.weights import has_weights, is_file, is_gguf

WORK_FOLDER = ".jan_server"
"""Ours, in the data folder: settings, trash, fitted copies, download states."""

LAYOUT = ("assistants", "models", "threads", "engines", "settings", "logs")
"""What a fresh data folder gets: Jan 0.4's layout."""

MESSAGES = "messages.jsonl"
RUNS = "runs.jsonl"
RESPONSES = "responses.jsonl"

FILED_DEPTH = 6
"""How deep threads that people file into folders are looked for."""


def _without(_folder: str) -> None:
    return None


def _has_messages(folder: Path) -> bool:
    return is_file(folder / MESSAGES)


def _never(_folder: Path) -> bool:
    return False


def _messages_signature(folder: str) -> Signature | None:
    return signature_at(f"{folder}/{MESSAGES}")


def _weights_signature(folder: str) -> Signature | None:
    """Of all weights together: the latest time, the sum of the sizes."""
    names = sorted(filter(is_gguf, _names_in(Path(folder))))
    signatures = (signature_at(f"{folder}/{name}") for name in names)
    found = [signature for signature in signatures if signature is not None]
    if not found:
        return None
    return Signature(max(s.mtime_ns for s in found), sum(s.size for s in found), found[0].inode)


class Kind(NamedTuple):
    """A kind of resource: one folder each, in a folder of their own, with one JSON document.

    `counts_without` says of a folder that lacks the document whether it is served as if that were
    `{}`. `companion` changes when files beside the document do that belong to the resource too.
    Layout: `plain`, only direct folders count; `filed`, a person may have put some into folders of
    his own, and their ids are still their names; `parts`, the folders' path is the id.
    Confined: links may not lead outside.
    """

    name: ResourceKind
    folder: str
    document: str
    counts_without: Callable[[Path], bool]
    companion: Callable[[str], Signature | None] = _without
    layout: Literal["plain", "filed", "parts"] = "plain"
    is_confined: bool = True

    @property
    def depth(self) -> int:
        return {"plain": 1, "filed": FILED_DEPTH, "parts": ids.MODEL_PARTS}[self.layout]


THREADS = Kind("thread", "threads", "thread.json", _has_messages, _messages_signature, "filed")
ASSISTANTS = Kind("assistant", "assistants", "assistant.json", _never)
MODELS = Kind(
    "model", "models", "model.json", has_weights, _weights_signature, "parts", is_confined=False
)
LLAMACPP = Kind(
    "model",
    "llamacpp/models",
    "model.yml",
    _never,
    _weights_signature,
    "parts",
    is_confined=False,
)
"""Models as today's Jan keeps them."""


def is_listed(name: str) -> bool:
    """Whether a name in a folder can be a resource's.

    Not: names that begin with a dot (`.DS_Store`, `.stfolder`, our temporary files), an editor's
    backup, a name that is not UTF-8 or holds control characters.
    """
    return not name.startswith(".") and not name.endswith("~") and ids.is_lookup_id(name)


def addresses(filed: Iterable[str], is_taken: Callable[[str], bool]) -> dict[str, str]:
    """Which id reaches which of the folders that people filed, each given by its path.

    Of several with one name the one directly in the kind's folder (then it is taken), else the
    first path, has it; the others are `<name>@<folder>`, in which a colon stands for the slash
    that an id may not hold.
    """
    found: dict[str, str] = {}
    for place in sorted(filed, key=os.fsencode):
        folder, _, name = place.rpartition("/")
        is_free = name not in found and not is_taken(name)
        found[name if is_free else f"{name}@{folder.replace('/', ':')}"] = place
    return found


class Found(NamedTuple):
    """A folder below the kind's own: a resource's, or one that resources may lie in."""

    where: str
    is_resource: bool


class _Listing(NamedTuple):
    signature: Signature
    is_settled: bool
    names: frozenset[str]


class Place:
    """The folder of one kind. The data folder and this folder are resolved once and are roots.

    Where a resource's folder is, is told as its path below this one: `jan_1`, `Work/jan_1`.
    """

    def __init__(self, root: Path, kind: Kind) -> None:
        self.kind = kind
        self.root = root
        self.path = Path(os.path.realpath(root / kind.folder))
        self._below = f"{self.path}{os.sep}"
        self._roots = (root, self.path)
        self._listing: _Listing | None = None

    def __repr__(self) -> str:
        return f"<Place {self.kind.folder} at {self.path}>"

    def walk(self, below: str = "") -> Iterator[Found]:
        """The folders that are looked through, and those that hold a resource, by their names.

        `below` is a folder, or one that holds some. A link to a folder of folders is not followed
        where people file: it may lead round in a circle.
        """
        folder = f"{self.path}/{below}"
        if below and self.holds(folder):
            yield Found(below, is_resource=True)
        elif self._is_looked_through(folder, depth=below.count("/") + bool(below)):
            yield Found(below, is_resource=False)
            for name in sorted(filter(is_listed, self.names(Path(folder))), key=os.fsencode):
                yield from self.walk(f"{below}/{name}" if below else name)

    def find(self, id: str) -> Path | None:
        """The folder of that id, by comparison with the names that there are. Not a filed one.

        Raises FileUnreadable when those cannot be listed and it was not there before.
        """
        try:
            return self._find(id)
        except FileUnreadable:
            known = self.known(id)
            if known is None:
                raise
            return known

    def _find(self, id: str) -> Path | None:
        folder = self.path
        for part in id.split("/") if self.kind.layout == "parts" else [id]:
            if not is_listed(part):
                return None
            name = _matching(part, self.names(folder))
            if name is None:
                return None
            folder = folder / name
        return folder if self.holds(folder) else None

    def known(self, id: str) -> Path | None:
        """As `find`, among the names that were there when they were read last: a few `stat`.

        None may mean that it is not known. For ids of one part.
        """
        if self._listing is None or id not in self._listing.names or not is_listed(id):
            return None
        folder = self.path / id
        return folder if self.holds(folder) else None

    def owner(self, path: Path) -> str | None:
        """Where the resource is that a changed path belongs to; None when it is of none.

        Only one that `walk` finds: not below a link that may lead anywhere, nor in `.stversions`.
        """
        where = ""
        for depth, name in enumerate(self.where(path).split("/")[: self.kind.depth], start=1):
            where = f"{where}/{name}" if where else name
            folder = f"{self.path}/{where}"
            if not is_listed(name):
                return None
            if self.holds(folder):
                return where
            if not self._is_looked_through(folder, depth=depth):
                return None
        return None

    def is_found(self, folder: Path) -> bool:
        """Whether `walk` finds this resource. One in parts is reached by its id wherever it is."""
        if self.kind.layout != "filed" or folder.parent == self.path:
            return self.holds(folder)
        return self.owner(folder) == self.where(folder)

    def holds(self, folder: str | Path) -> bool:
        """Whether the folder is a resource of this kind, and lies where it may."""
        # Strings and one call each: a scan of 100,000 folders asks this of every one.
        if os.path.islink(folder) and not self.is_inside(folder):  # noqa: PTH114
            return False
        document = f"{folder}/{self.kind.document}"
        try:
            status = os.lstat(document)
        except PermissionError:
            return True  # It may not be entered: whoever reads it is told so.
        except OSError:
            return self.kind.counts_without(Path(folder))
        return not stat.S_ISLNK(status.st_mode) or self.is_inside(document)

    def is_inside(self, path: str | Path) -> bool:
        """Whether a path, links followed, is one that this kind may use."""
        if not self.kind.is_confined:
            return True
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(root) for root in self._roots)

    def is_above(self, path: Path) -> bool:
        """Whether it is this folder or lies below; links are not followed."""
        return path == self.path or str(path).startswith(self._below)

    def where(self, folder: Path) -> str:
        # Asked several times for each change: on texts it costs a tenth.
        text = str(folder)
        if os.sep == "/" and text.startswith(self._below):
            return text[len(self._below) :]
        return folder.relative_to(self.path).as_posix()

    def shown(self, path: Path) -> str:
        """A path as people are told it: from the data folder on."""
        return f"{self.kind.folder}/{self.where(path)}"

    def names(self, folder: Path) -> frozenset[str]:
        """The names in a folder; of the kind's own read again only when its signature says so.

        Raises FileUnreadable when that cannot be listed: that nothing is there would not be true.
        """
        if folder != self.path:
            return _names_in(folder)
        signature = signature_at(self.path)
        if signature is None:
            return frozenset()
        old = self._listing
        if old is not None and old.is_settled and old.signature == signature:
            return old.names
        # The clock before the listing: a name that is added meanwhile makes it unsettled.
        is_settled = signature.is_settled(now())
        try:
            names = frozenset(os.listdir(self.path))  # noqa: PTH208
        except FileNotFoundError:  # Moved away this moment.
            return frozenset()
        except OSError as error:
            raise FileUnreadable(
                self.kind.folder, f"cannot be listed ({error.strerror})"
            ) from error
        self._listing = _Listing(signature, is_settled, names)
        return names

    def _is_looked_through(self, folder: str, *, depth: int) -> bool:
        if depth >= self.kind.depth or not os.path.isdir(folder):  # noqa: PTH112  # Never raises.
            return False
        if self.kind.layout != "filed" or depth == 0:
            return True
        return not os.path.islink(folder)  # noqa: PTH114


def _names_in(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208
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
