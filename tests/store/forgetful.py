"""A stand-in for `os` that knows what a power cut may leave: ALICE's rules.

Every call is made on a real folder and written down. `crashes` then tells, for the moment after
each call, every state that the disk may be in:

- The bytes of a file that were not flushed may be there, or not, or half of them, or its length
  may be there and zeros in it. Files do not depend on each other.
- A name that a folder gained or lost since the folder was flushed may be gained or lost, or not,
  each by itself, in whatever order it was done.
- A rename within a folder is one step, an exchange of two names too. One into another folder is
  two: the name is gained and then lost; the second is never there without the first, unless
  somebody flushed only the folder that lost it.

Pillai and others: All File Systems Are Not Created Equal, OSDI 2014.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jan_server.store import system

Tree = tuple[tuple[str, bytes | None], ...]
"""Every path below the root with its bytes; None is a folder."""

_MOST_CHANGES = 8
"""Names not flushed at one moment. More would mean 2^n states: something does not flush."""


class Folder:
    """A folder as the disk knows it: it is itself wherever its name goes."""


@dataclass(eq=False)
class File:
    """`durable` was flushed; each of `versions` is what a later write made of it."""

    durable: bytes = b""
    versions: list[bytes] = field(default_factory=list)

    @property
    def now(self) -> bytes:
        return self.versions[-1] if self.versions else self.durable

    def possible(self) -> list[bytes]:
        """What may be read after a crash."""
        found = [self.durable]
        for version in self.versions:
            old = found[-1]
            half = old + version[len(old) : (len(old) + len(version)) // 2]
            found += [half, old + bytes(max(0, len(version) - len(old))), version]
        return found


Node = Folder | File
Entries = dict[tuple[Folder, str], Node]


@dataclass(eq=False)
class Change:
    """Names that folders gain, or lose (None), in one step. `after` must have happened first."""

    entries: dict[tuple[Folder, str], Node | None]
    after: Change | None = None
    is_durable: bool = False

    def folders(self) -> set[Folder]:
        return {folder for folder, _ in self.entries}


@dataclass
class _Open:
    node: Node
    position: int | None
    """None: writes go to the end."""


class ForgetfulSystem:
    """Everything that is in `root` when it is made is on the disk."""

    def __init__(self, root: Path) -> None:
        self.calls: list[str] = []
        self.states: set[Tree] = set()
        """What the disk may have held, at any moment."""
        self._root_path = root
        self._root = Folder()
        self._durable: Entries = {}
        self._entries: Entries = {}
        self._changes: list[Change] = []
        self._open: dict[int, _Open] = {}
        self._load(root, self._root)

    def __repr__(self) -> str:
        return f"<ForgetfulSystem {len(self.calls)} calls>"

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        fd = os.open(path, flags, mode)
        key = self._key(path)
        node = self._entries.get(key) if key else self._root
        if node is None and key:
            node = File()
            self._change({key: node})
        assert node is not None
        self._open[fd] = _Open(node, None if flags & os.O_APPEND else 0)
        self._note("open")
        return fd

    def write(self, fd: int, data: bytes, /) -> int:
        written = os.write(fd, data)
        opened = self._open[fd]
        assert isinstance(opened.node, File)
        old = opened.node.now
        start = len(old) if opened.position is None else opened.position
        opened.node.versions.append(old[:start] + data[:written] + old[start + written :])
        if opened.position is not None:
            opened.position += written
        self._note("write")
        return written

    def ftruncate(self, fd: int, length: int, /) -> None:
        os.ftruncate(fd, length)
        node = self._open[fd].node
        assert isinstance(node, File)
        node.versions.append(node.now[:length])
        self._note("ftruncate")

    def fsync(self, fd: int) -> None:
        """Nothing needs to reach the real disk: what would have is written down."""
        node = self._open[fd].node
        if isinstance(node, File):
            node.durable, node.versions = node.now, []
        else:
            self._flush_folder(node)
        self._note("fsync")

    def fchmod(self, fd: int, mode: int) -> None:
        os.fchmod(fd, mode)

    def replace(self, src: Path, dst: Path) -> None:
        src.replace(dst)
        self._rename(src, dst)

    def rename(self, src: Path, dst: Path) -> None:
        src.rename(dst)
        self._rename(src, dst)

    def exchange(self, one: Path, other: Path) -> None:
        system.exchange(one, other)
        first, second = self._known(one), self._known(other)
        self._change({first: self._entries[second], second: self._entries[first]})
        self._note("exchange")

    def mkdir(self, path: Path, mode: int = 0o777) -> None:
        path.mkdir(mode)
        self._change({self._known(path): Folder()})
        self._note("mkdir")

    def unlink(self, path: Path) -> None:
        path.unlink()
        self._change({self._known(path): None})
        self._note("unlink")

    def link(self, src: Path, dst: Path) -> None:
        """Another name for the same file; one from outside the root is known by its bytes."""
        os.link(src, dst)
        inside = src.is_relative_to(self._root_path)
        node = self._entries[self._known(src)] if inside else File(b"", [src.read_bytes()])
        self._change({self._known(dst): node})
        self._note("link")

    def possible(self) -> set[Tree]:
        """What the disk may hold when the power is cut now."""
        return set(self._possible())

    def _possible(self) -> Iterator[Tree]:
        pending = [change for change in self._changes if not change.is_durable]
        assert len(pending) <= _MOST_CHANGES, f"{pending} are not flushed after {self.calls}"
        for chosen in _subsets(pending):
            entries = dict(self._durable)
            for change in self._changes:
                if change.is_durable or change in chosen:
                    _apply(change, entries)
            yield from _trees(entries, self._root)

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self.states |= self.possible()

    def _rename(self, src: Path, dst: Path) -> None:
        source, target = self._known(src), self._known(dst)
        node = self._entries[source]
        if source[0] is target[0]:
            self._change({source: None, target: node})
        else:
            gained = self._change({target: node})
            self._change({source: None}, after=gained)
        self._note("rename")

    def _change(
        self, entries: dict[tuple[Folder, str], Node | None], *, after: Change | None = None
    ) -> Change:
        change = Change(entries, after)
        self._changes.append(change)
        _apply(change, self._entries)
        return change

    def _flush_folder(self, folder: Folder) -> None:
        for change in self._changes:
            if folder in change.folders():
                change.is_durable = True
        # What is durable and first can be forgotten as a change.
        while self._changes and self._changes[0].is_durable:
            _apply(self._changes.pop(0), self._durable)

    def _known(self, path: Path) -> tuple[Folder, str]:
        key = self._key(path)
        assert key is not None
        return key

    def _key(self, path: Path) -> tuple[Folder, str] | None:
        """The folder that a path's last name is in, and that name; None for the root."""
        parts = path.relative_to(self._root_path).parts
        if not parts:
            return None
        folder: Node = self._root
        for index, part in enumerate(parts[:-1]):
            assert isinstance(folder, Folder)
            known = self._entries.get((folder, part))
            if known is None:  # Made past us, and not looked at again after a crash.
                known = self._durable[folder, part] = self._entries[folder, part] = Folder()
                self._load(self._root_path.joinpath(*parts[: index + 1]), known)
            folder = known
        assert isinstance(folder, Folder)
        return folder, parts[-1]

    def _load(self, path: Path, folder: Folder) -> None:
        for entry in path.iterdir():
            node: Node = Folder() if entry.is_dir() else File(entry.read_bytes())
            self._durable[folder, entry.name] = self._entries[folder, entry.name] = node
            if isinstance(node, Folder):
                self._load(entry, node)


def tree_of(root: Path) -> Tree:
    """What lies there now."""
    found = ((str(path.relative_to(root)), path) for path in root.rglob("*"))
    return tuple(
        sorted((name, None if path.is_dir() else path.read_bytes()) for name, path in found)
    )


def write_tree(tree: Tree, root: Path) -> Path:
    root.mkdir()
    for name, data in tree:
        path = root / name
        if data is None:
            path.mkdir()
        else:
            path.write_bytes(data)
    return root


def _subsets(changes: list[Change]) -> Iterator[set[Change]]:
    for chosen in itertools.product((False, True), repeat=len(changes)):
        found = {change for change, is_in in zip(changes, chosen, strict=True) if is_in}
        if all(_follows(change.after, found) for change in found):
            yield found


def _follows(after: Change | None, found: set[Change]) -> bool:
    return after is None or after.is_durable or after in found


def _apply(change: Change, entries: Entries) -> None:
    for key, node in change.entries.items():
        if node is None:
            entries.pop(key, None)
        else:
            entries[key] = node


def _trees(entries: Entries, root: Folder) -> Iterator[Tree]:
    """The trees that these names make, one for each way that the files may have come out."""
    names = _names(entries)
    nodes = dict(_below(names, root, ""))
    files = {id(node): node for node in nodes.values() if isinstance(node, File)}
    for contents in itertools.product(*(set(file.possible()) for file in files.values())):
        of = dict(zip(files, contents, strict=True))
        yield tuple(sorted((name, of.get(id(node))) for name, node in nodes.items()))


def _names(entries: Entries) -> dict[Folder, dict[str, Node]]:
    names: dict[Folder, dict[str, Node]] = {}
    for (folder, name), node in entries.items():
        names.setdefault(folder, {})[name] = node
    return names


def _below(
    names: Mapping[Folder, Mapping[str, Node]], folder: Folder, path: str
) -> Iterator[tuple[str, Node]]:
    for name, node in names.get(folder, {}).items():
        yield f"{path}{name}", node
        if isinstance(node, Folder):
            yield from _below(names, node, f"{path}{name}/")
