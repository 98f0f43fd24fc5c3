"""A stand-in for `os` whose Nth changing call fails, or, when it is a write, is cut short."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jan_server.store.system import exchange


def _no_flush(_fd: int) -> None:
    """The page cache outlives the process: whether it reached the disk shows in no test here."""


class FailingSystem:
    """Counts the calls that change something. `nth` 0 fails none."""

    def __init__(
        self, nth: int = 0, *, for_ever: bool = False, cut: bool = False, code: int = errno.EIO
    ) -> None:
        self.nth = nth
        self.for_ever = for_ever
        self.cut = cut
        self.code = code
        self.calls: list[str] = []

    def __repr__(self) -> str:
        return f"<FailingSystem {len(self.calls)} calls, fails at {self.nth}>"

    @property
    def has_failed(self) -> bool:
        return 0 < self.nth <= len(self.calls)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        return int(self._call("open", os.open, path, flags, mode))

    def write(self, fd: int, data: bytes, /) -> int:
        if self.cut and self._is_due():
            self.calls.append("write")
            return os.write(fd, data[: len(data) // 2])
        return int(self._call("write", os.write, fd, data))

    def fsync(self, fd: int) -> None:
        self._call("fsync", _no_flush, fd)

    def ftruncate(self, fd: int, length: int, /) -> None:
        self._call("ftruncate", os.ftruncate, fd, length)

    def fchmod(self, fd: int, mode: int) -> None:
        self._call("fchmod", os.fchmod, fd, mode)

    def replace(self, src: Path, dst: Path) -> None:
        self._call("replace", os.replace, src, dst)

    def exchange(self, one: Path, other: Path) -> None:
        self._call("exchange", exchange, one, other)

    def rename(self, src: Path, dst: Path) -> None:
        self._call("rename", os.rename, src, dst)

    def mkdir(self, path: Path, mode: int = 0o777) -> None:
        self._call("mkdir", os.mkdir, path, mode)

    def unlink(self, path: Path) -> None:
        self._call("unlink", os.unlink, path)

    def link(self, src: Path, dst: Path) -> None:
        self._call("link", os.link, src, dst)

    def _is_due(self) -> bool:
        number = len(self.calls) + 1
        return self.nth > 0 and (number == self.nth or (self.for_ever and number > self.nth))

    def _call(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        is_due = self._is_due()
        self.calls.append(name)
        if is_due:
            raise OSError(self.code, os.strerror(self.code))
        return function(*arguments)
