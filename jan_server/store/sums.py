"""Which SHA-256 a file of weights had when it was last verified: `.jan_server/sums.json`.

    {
      "models/m/m.gguf": {
        "sha256": "9fecc3b3cd76bba89d504f29b616eedf7da85b96540e490ca5824d3f7d2776a0",
        "size": 668788096,
        "mtime_ns": 1764341999123456789,
        "inode": 1048601,
        "verified": "2026-01-31T09:30:00Z"
      }
    }

Computing a sum takes seconds for each gigabyte; comparing what `stat` says with what it said when
the sum was verified takes none. So those who have read the whole file anyway (a download, an
import, `doctor`) record its sum, and all others only ask whether the file is as it was then.

The record can be deleted at any time: nothing is known then until somebody verifies again. One
that cannot be understood counts as deleted. Files below the data folder are named by their path
from there on, others by their whole path.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import msgspec

from jan_server.store.files import Files
from jan_server.store.locks import Locks
from jan_server.store.signature import Signature, now, signature_at

NAME = "sums.json"
_NONE: Mapping[str, VerifiedSum] = MappingProxyType({})


class VerifiedSum(msgspec.Struct, frozen=True, kw_only=True):
    """A file's sum, and what `stat` said of the file when it was `verified` (in UTC)."""

    sha256: str
    size: int
    mtime_ns: int
    inode: int
    verified: str

    @property
    def signature(self) -> Signature:
        return Signature(self.mtime_ns, self.size, self.inode)


class _Read(msgspec.Struct, frozen=True):
    signature: Signature | None
    sums: Mapping[str, VerifiedSum]


class VerifiedSums:
    """The record of one data folder. `folder` is our own folder, made when it is written to."""

    def __init__(self, folder: Path, *, root: Path, files: Files, locks: Locks) -> None:
        self.path = folder / NAME
        self._root = root
        self._files = files
        self._locks = locks
        self._read = _Read(None, _NONE)

    def __repr__(self) -> str:
        return f"<VerifiedSums {len(self._current())}>"

    def of(self, path: Path) -> VerifiedSum | None:
        """What is recorded of a file, whether it has changed since or not: one `stat`."""
        sums = self._current()
        return sums.get(self._name(path)) if sums else None

    def changed(self, path: Path) -> VerifiedSum | None:
        """What is recorded of a file that is not as it was then; None when it is, or is not known.

        Two `stat`: of the record, and of the file.
        """
        recorded = self.of(path)
        if recorded is None:
            return None
        signature = signature_at(path)
        return None if signature in (None, recorded.signature) else recorded

    def record(self, path: Path, sha256: str, *, signature: Signature | None = None) -> None:
        """A file was read to its end and has this sum, which replaces what was recorded of it.

        `signature` is the one that it had when it was read, by default what it has now. Raises
        as Files.replace and Locks.hold do.
        """
        signature = signature or signature_at(path)
        if signature is None:
            return  # Gone this moment: there is nothing to know of it.
        verified = VerifiedSum(
            sha256=sha256.lower(),
            size=signature.size,
            mtime_ns=signature.mtime_ns,
            inode=signature.inode,
            verified=datetime.fromtimestamp(int(now()), UTC).isoformat().replace("+00:00", "Z"),
        )
        self._files.make_folders(self.path.parent)
        with self._locks.hold(NAME):
            sums = {**self._current(), self._name(path): verified}
            written = msgspec.json.format(msgspec.json.encode(dict(sorted(sums.items()))), indent=2)
            self._files.replace(self.path, written + b"\n")

    def _name(self, path: Path) -> str:
        # "/" in names on every system; a path that is not UTF-8 is told as its bytes escape it.
        below = path.relative_to(self._root) if path.is_relative_to(self._root) else path
        return below.as_posix().encode(errors="backslashreplace").decode()

    def _current(self) -> Mapping[str, VerifiedSum]:
        """What the file says now; read again only when it is not as it was."""
        moment, signature = now(), signature_at(self.path)
        if signature is None:
            return _NONE
        read = self._read
        if signature == read.signature:
            return read.sums
        sums, signature = self._decoded()
        is_settled = signature is not None and signature.is_settled(moment)
        self._read = _Read(signature if is_settled else None, sums)
        return sums

    def _decoded(self) -> tuple[Mapping[str, VerifiedSum], Signature | None]:
        try:
            raw, signature = self._files.read(self.path)
            return msgspec.json.decode(raw, type=dict[str, VerifiedSum]), signature
        except (OSError, ValueError):  # msgspec's are ValueErrors.
            return _NONE, None
