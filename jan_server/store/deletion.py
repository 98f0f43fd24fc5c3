"""What a folder of the trash holds. Reads only; links are not followed.

    20261123T051803.123456Z/threads/Work/x/         a thread that a person had filed into `Work`
    20261123T051803.123456Z/models/org/name/        a model, or only its weights
    20261123T051803.123456Z/messages/<thread>/<...> one message, in a file of its own

A deletion holds one resource. In `doctor/` is what `doctor --fix` put aside: not to be restored by
a click, a person looks at it. What else lies there a person put there: it is never listed, moved
or removed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from jan_server import ids
from jan_server.events import ResourceKind
from jan_server.store import paths, scanner
from jan_server.store.weights import is_gguf, weights

MESSAGES = "messages"
"""The folder of deleted messages, beside those that are named after the kinds."""

PUT_ASIDE = "doctor"

_MOMENT = "%Y%m%dT%H%M%S.%fZ"
_NAME = re.compile(r"(\d{8}T\d{6}\.\d{6}Z)(?:-(\d{1,6}))?")
_DEPTH = 8
"""How deep a resource is looked for: deeper than any kind's folders go."""


class KeptMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A deleted message: its `line` as it was, and the id of the message that it stood after."""

    thread_id: str
    id: str
    after: str | None
    line: str


class Deletion(msgspec.Struct, frozen=True, kw_only=True):
    """One resource in the trash.

    `id` is the name of its folder there, `path` the resource itself, `where` the path that it had
    below its kind's `folder`. `deleted_at` in seconds. `weights` are files of a model that are
    large and can be got again.
    """

    id: str
    kind: ResourceKind
    resource_id: str
    path: Path
    where: str
    folder: str
    deleted_at: float
    bytes: int
    files: int
    thread_id: str | None = None
    weights: tuple[Path, ...] = ()

    @property
    def home(self) -> str:
        """Where it goes back to, below the data folder."""
        if self.kind == "message":
            return f"{paths.THREADS.folder}/{self.thread_id}/{paths.MESSAGES}"
        return f"{self.folder}/{self.where}"

    @property
    def order(self) -> tuple[float, int]:
        """Of two of one moment the later one has the greater number."""
        found = _NAME.fullmatch(self.id)
        return self.deleted_at, int(found[2] or 1) if found else 1


def name_of(moment: datetime, number: int = 1) -> str:
    """The name of a deletion's folder; `number` tells those of one moment apart."""
    name = moment.strftime(_MOMENT)
    return name if number == 1 else f"{name}-{number}"


def time_of(name: str) -> float | None:
    """When a deletion of that name was made, in seconds; None for what is no such name."""
    found = _NAME.fullmatch(name)
    try:
        moment = datetime.strptime(found[1] if found else "", _MOMENT)
        return moment.replace(tzinfo=UTC).timestamp()
    except ValueError:  # Not such a name, or the 40th of December.
        return None


def read(folder: Path) -> Deletion | None:
    """What a folder of the trash holds; None when it is not, or not yet, a deletion."""
    deleted_at = time_of(folder.name)
    if deleted_at is None or folder.is_symlink():
        return None
    for kind in (paths.THREADS, paths.ASSISTANTS, paths.MODELS, paths.LLAMACPP):
        for path in _resources(kind, folder / kind.folder):
            return _of_resource(kind, folder, path, deleted_at)
    return _of_message(folder, deleted_at)


def _of_resource(kind: paths.Kind, folder: Path, path: Path, deleted_at: float) -> Deletion:
    where = path.relative_to(folder / kind.folder).as_posix()
    sizes = list(map(_size, _files(path)))
    return Deletion(
        id=folder.name,
        kind=kind.name,
        resource_id=where if kind.name == "model" else path.name,
        path=path,
        where=where,
        folder=kind.folder,
        deleted_at=deleted_at,
        bytes=sum(sizes),
        files=len(sizes),
        weights=_weights(path) if kind.name == "model" else (),
    )


def _of_message(folder: Path, deleted_at: float) -> Deletion | None:
    for thread in _folders(folder / MESSAGES):
        for path in _files(thread):
            kept = read_message(path)
            if kept is not None:
                return Deletion(
                    id=folder.name,
                    kind="message",
                    resource_id=kept.id,
                    path=path,
                    where=f"{thread.name}/{path.name}",
                    folder=MESSAGES,
                    deleted_at=deleted_at,
                    bytes=_size(path),
                    files=1,
                    thread_id=kept.thread_id,
                )
    return None


def read_message(path: Path) -> KeptMessage | None:
    """None for a file that is no deleted message's."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=KeptMessage)
    except (OSError, msgspec.DecodeError):
        return None


def _resources(kind: paths.Kind, folder: Path) -> list[Path]:
    """The folders, or links to some, that were a resource."""
    folders = list(_below(folder))
    whole = [path for path in folders if path.is_symlink() or _is_whole(kind, path)]
    if whole or kind.name != "model":
        return whole
    # Only its weights were moved, and what those are called only its manifest could say.
    return [path for path in folders if any(map(_counts, _entries(path)))]


def _is_whole(kind: paths.Kind, folder: Path) -> bool:
    return os.path.lexists(folder / kind.document) or kind.counts_without(folder)


def _counts(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and not entry.is_dir(follow_symlinks=False)


def _below(folder: Path, depth: int = 1) -> Iterator[Path]:
    """Folders and links to some, those nearest to the top first on each way down."""
    for path in _folders(folder, with_links=True):
        yield path
        if depth < _DEPTH and not path.is_symlink():
            yield from _below(path, depth + 1)


def _folders(folder: Path, *, with_links: bool = False) -> list[Path]:
    return sorted(
        Path(entry.path)
        for entry in _entries(folder)
        if ids.is_lookup_id(entry.name)
        and (entry.is_dir(follow_symlinks=False) or (with_links and entry.is_symlink()))
    )


def _files(path: Path) -> list[Path]:
    """The files below a folder, links among them; of a link the link itself."""
    if path.is_symlink():
        return [path]
    found: list[Path] = []
    for entry in _entries(path):
        below = Path(entry.path)
        found.extend(_files(below) if entry.is_dir(follow_symlinks=False) else [below])
    return found


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # Removed this moment.
        return 0


def _weights(folder: Path) -> tuple[Path, ...]:
    """What is large of a model, and not the notes beside it. A link takes no space."""
    own = weights(folder, folder, _manifest(folder))
    return tuple(
        Path(entry.path)
        for entry in _entries(folder)
        if entry.is_file(follow_symlinks=False)
        and (is_gguf(entry.name) or (own is not None and own == Path(entry.path)))
    )


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        value = scanner.decode((folder / paths.MODELS.document).read_bytes())
    except OSError:
        return {}
    return value if isinstance(value, dict) else {}


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    if folder.is_symlink():
        return []
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: os.fsencode(entry.name))
    except OSError:
        return []
