"""The file that is being written, and the thread that flushes it."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jan_server.downloads import flusher
from jan_server.downloads.partial import PartialFile
from jan_server.downloads.progress import DownloadProgress, Meter
from jan_server.errors import DiskFull, DownloadFailed, JanError
from tests.downloads.hub import OTHER_SUM, PATIENCE


def partial_file(file: Any, **more: Any) -> PartialFile:
    meter = Meter("m", "m.gguf", lambda _: None)
    return PartialFile(file, "m.gguf", meter=meter, stopped=threading.Event(), **more)


class FailingFile(io.BytesIO):
    """A file whose second write fails."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self._code = code

    def write(self, data: Any) -> int:
        if self.tell():
            raise OSError(self._code, os.strerror(self._code))
        return super().write(data)


@pytest.mark.parametrize(
    ("code", "error", "complaint"),
    [
        (errno.ENOSPC, DiskFull, "The disk is full: m.gguf is not whole"),
        (errno.EIO, DownloadFailed, "m.gguf was not written: Input/output error"),
    ],
)
def test_a_write_that_fails_is_said(code: int, error: type[JanError], complaint: str) -> None:
    partial = partial_file(FailingFile(code))
    partial.write(b"first")
    with pytest.raises(error, match=complaint):
        partial.write(b"second")
    assert partial.tell() == 5


def test_a_partial_file_begins_again_from_its_start_only() -> None:
    file = io.BytesIO()
    partial = partial_file(file)
    partial.write(b"abc")
    with pytest.raises(ValueError, match="begins again from its start"):
        partial.seek(1)
    partial.seek(0)
    partial.truncate()
    partial.write(b"other")
    partial.expect(size=5, sha256=OTHER_SUM)
    assert (partial.finish(), file.getvalue()) == (5, b"other")
    assert repr(partial) == "<PartialFile m.gguf, 5 of 5 bytes>"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Any]:
    with (tmp_path / "m.partial").open("w+b", buffering=0) as opened:
        yield opened


def test_what_is_written_is_flushed_meanwhile_and_at_the_end(
    file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flusher, "INTERVAL", 0.01)
    saved: list[int] = []
    meanwhile = threading.Event()

    def save(_: PartialFile, size: int) -> None:
        saved.append(size)
        meanwhile.set()

    with partial_file(file, save=save) as partial:
        partial.write(b"abc")
        assert meanwhile.wait(PATIENCE)
        partial.write(b"de")
    assert saved == [3, 5]


def test_a_flush_that_fails_ends_the_download(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flusher, "INTERVAL", 0.01)
    failed = threading.Event()

    def fail(_fd: int) -> None:
        failed.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    saved: list[int] = []

    def write_on() -> None:
        with partial_file(file, flush=fail, save=lambda _, size: saved.append(size)) as partial:
            partial.write(b"abc")
            assert failed.wait(PATIENCE)
            while True:
                partial.write(b"d")

    with pytest.raises(OSError, match="Input/output error"):
        write_on()
    assert saved == []


def test_the_last_flush_counts_too(file: Any) -> None:
    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with (
        pytest.raises(OSError, match="Input/output error"),
        partial_file(file, flush=fail) as partial,
    ):
        partial.write(b"abc")


def test_beginning_again_is_noted_before_the_file_is_cut(file: Any) -> None:
    sizes: list[tuple[int, int]] = []

    def save(_: PartialFile, size: int) -> None:
        sizes.append((size, os.fstat(file.fileno()).st_size))

    with partial_file(file, save=save) as partial:
        partial.write(b"abc")
        partial.restart()
        partial.write(b"d")
    assert sizes == [(0, 3), (1, 1)]
    assert repr(partial._flusher) == "<Flusher 1 of 1 bytes>"


def test_a_write_that_takes_a_part_is_gone_on_with(tmp_path: Path) -> None:
    class Slow(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(bytes(data[:2]))

    file = Slow()
    partial_file(file).write(b"abcde")
    assert file.getvalue() == b"abcde"


def test_the_rate_is_of_what_came_and_not_of_what_was_there() -> None:
    told: list[DownloadProgress] = []
    meter = Meter("m", "m.gguf", told.append, before=10, after=None)
    meter.begin("downloading", 100, done=50)
    meter.update(100)
    assert [(p.bytes_done, p.bytes_total) for p in told] == [(60, None), (110, None)]
    assert told[0].rate == 0.0
    assert told[1].rate > 0.0
