"""The calls of `os` that not every system has."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from jan_server.store import system
from jan_server.store.system import CannotExchange, OperatingSystem


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    one, other = tmp_path / "one", tmp_path / "ö ther"
    one.write_text("1")
    other.write_text("2")
    return one, other


def test_two_names_change_places(files: tuple[Path, Path]) -> None:
    OperatingSystem().exchange(*files)
    assert [path.read_text() for path in files] == ["2", "1"]


def test_a_name_that_is_missing_is_told(files: tuple[Path, Path]) -> None:
    files[1].unlink()
    with pytest.raises(FileNotFoundError):
        OperatingSystem().exchange(*files)
    assert files[0].read_text() == "1"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.EINVAL, CannotExchange),
        (errno.ENOSYS, CannotExchange),
        (errno.EOPNOTSUPP, CannotExchange),
        (errno.EACCES, PermissionError),
        (errno.EIO, OSError),
    ],
)
def test_what_a_file_system_lacks_is_no_failure(
    code: int, kind: type[OSError], files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_one: bytes, _other: bytes) -> int:
        ctypes.set_errno(code)
        return -1

    monkeypatch.setattr(system, "_exchanging", fails)
    with pytest.raises(kind) as caught:
        system.exchange(*files)
    assert (type(caught.value), caught.value.errno) == (kind, code)


def test_a_system_without_it_says_so(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "_exchanging", None)
    with pytest.raises(CannotExchange):
        system.exchange(*files)


def test_each_system_has_a_call_of_its_own() -> None:
    linux = SimpleNamespace(renameat2=lambda *arguments: (calls.append(arguments), 0)[1])
    macos = SimpleNamespace(renamex_np=lambda *arguments: (calls.append(arguments), 0)[1])
    calls: list[tuple[object, ...]] = []
    for library in (linux, macos):
        call = system._exchanging_rename(library)
        assert call is not None
        assert call(b"a", b"b") == 0
    assert calls == [(-100, b"a", -100, b"b", 2), (b"a", b"b", 2)]
    assert system._exchanging_rename(SimpleNamespace()) is None


def test_a_file_system_that_lacks_the_full_flush_gets_the_usual_one(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)  # Only macOS knows the full one.
    try:
        system._full_fsync(fd)
        system._no_mode(fd, 0o600)
    finally:
        os.close(fd)
