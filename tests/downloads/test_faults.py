"""Whatever goes wrong, and wherever: nothing wrong is published, and the next try goes on.

Each row goes wrong at the first byte, in the middle, near the end and at publishing. Afterwards the
server is well again, and the model is got, verified, from where the download was.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from msgspec import Struct

from jan_server.downloads import DownloadProgress, asking, partial
from jan_server.errors import DiskFull, DownloadFailed, DownloadStopped, JanError
from jan_server.store.files import Files
from jan_server.store.system import OperatingSystem
from tests.downloads.conftest import Place
from tests.downloads.hub import (
    OTHER_SUM,
    PATH,
    SUM,
    WEIGHTS,
    Answer,
    Fault,
    Hub,
    manifest,
    published,
)

SIZE = len(WEIGHTS)
STEP = 1024
PLACES = {
    "0 %": 0,
    "50 %": SIZE // 2,
    "99 %": SIZE * 99 // 100 // STEP * STEP,
    "publishing": SIZE,
}


@pytest.fixture(autouse=True)
def fine_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes is taken in steps that are small beside our little file; and no long patience."""
    asking._use_checked_client()
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", STEP)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)


class Row(Struct, frozen=True):
    """A fault of the network: what the server does, and what is said of it.

    `keeps` is whether what came before it is gone on with.
    """

    fault: Callable[[int], Fault]
    complaint: str
    keeps: bool = True


def status(code: int, **more: Any) -> Callable[[int], Fault]:
    return lambda at: Fault(kind="status", at=at, status=code, **more)


def redirect(location: str) -> Callable[[int], Fault]:
    return lambda at: Fault(kind="redirect", at=at, location=location)


ROWS = {
    "cut connection": Row(lambda at: Fault(kind="cut", at=at), "The connection to .* broke off"),
    "stalled server": Row(lambda at: Fault(kind="stall", at=at), "The connection to .* broke off"),
    "wrong bytes": Row(lambda at: Fault(kind="wrong", at=at), "SHA-256 is", keeps=False),
    "401": Row(status(401), "answered 401: it needs a login; set HF_TOKEN"),
    "403": Row(status(403), "answered 403: access is denied; accept the model's licence"),
    "404": Row(status(404), "answered 404: there is no such file"),
    "416": Row(status(416), "answered 416"),
    "429": Row(status(429), "answered 429: too many requests; try again later"),
    "429, later": Row(status(429, retry_after="86400"), "answered 429: too many requests"),
    "500": Row(status(500), "answered 500: the server has a problem; try again later"),
    "503": Row(status(503, retry_after="0"), "answered 503"),
    "redirected to a private address": Row(redirect("https://169.254.1.1/x"), "private network"),
    "redirected to this machine": Row(redirect("https://localhost:9/x"), "private network"),
    "redirected to plain http": Row(redirect("http://localhost:9/x"), "only https addresses are"),
    "redirected for ever": Row(redirect(PATH), "redirects"),
}


def expected_range(kept: int | None) -> str:
    return f"bytes={kept}-" if kept else ""


@pytest.mark.parametrize("at", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_fault_publishes_nothing_and_is_gone_on_with(
    row: Row, at: int, place: Place, hub: Hub
) -> None:
    place.waits = (0.0,)
    hub.answers[PATH] = Answer(fault=row.fault(at))
    if at < SIZE:
        with pytest.raises(DownloadFailed, match=row.complaint) as caught:
            place.get(manifest())
        assert "\n" not in caught.value.message
        assert place.models() == {}
        record = place.record()
        assert record is not None
        assert (record.status, record.error) == ("failed", caught.value.message)
        kept = place.kept()
        assert kept == (at if row.keeps else 0)
        hub.answers[PATH] = Answer()
        hub.asked.clear()
        place.get(manifest())
        assert hub.gets() == [expected_range(kept)]
    else:  # All bytes have come: what the server does after them harms nobody.
        place.get(manifest())
    assert place.files() == published(manifest())


@pytest.mark.parametrize("at", list(PLACES.values())[1:3], ids=list(PLACES)[1:3])
@pytest.mark.parametrize("kind", ["cut", "stall", "status"])
def test_a_fault_of_the_moment_is_not_even_noticed(
    kind: Any, at: int, place: Place, hub: Hub
) -> None:
    hub.answers[PATH] = Answer(fault=Fault(kind=kind, at=at, status=503, once=True))
    place.get(manifest())
    assert hub.gets() == ["", f"bytes={at}-"]
    assert place.files() == published(manifest())


def test_a_server_that_is_busy_is_asked_again_so_often(place: Place, hub: Hub) -> None:
    hub.answers[PATH] = Answer(fault=Fault(kind="status", status=503))
    place.waits = (0.0, 0.0, 0.0)
    with pytest.raises(DownloadFailed, match="answered 503"):
        place.get(manifest())
    assert hub.gets() == [""] * 4


def test_a_server_that_says_later_is_asked_then(place: Place, hub: Hub) -> None:
    hub.answers[PATH] = Answer(
        fault=Fault(kind="status", at=SIZE // 2, status=429, retry_after="1", once=False)
    )
    place.waits = (0.0,)
    began = time.monotonic()
    with pytest.raises(DownloadFailed):
        place.get(manifest())
    assert time.monotonic() - began >= 1


def test_a_stop_while_it_waits_is_heard_at_once(place: Place, hub: Hub) -> None:
    hub.answers[PATH] = Answer(fault=Fault(kind="status", status=503, retry_after="100"))

    def stop(progress: DownloadProgress) -> None:
        place.stopped.set()

    with pytest.raises(DownloadStopped):
        place.get(manifest(), stop)


@pytest.mark.parametrize("ranges", ["ignored", "refused"])
@pytest.mark.parametrize("at", list(PLACES.values())[1:3], ids=list(PLACES)[1:3])
def test_a_server_that_refuses_ranges_is_asked_for_all_of_it(
    ranges: Any, at: int, place: Place, hub: Hub
) -> None:
    hub.answers[PATH] = Answer(fault=Fault(kind="status", at=at, status=404))
    with pytest.raises(DownloadFailed):
        place.get(manifest())
    hub.answers[PATH] = Answer(ranges=ranges)
    hub.asked.clear()
    place.get(manifest())
    assert hub.gets() == [f"bytes={at}-"] + [""] * (ranges == "refused")
    assert place.files() == published(manifest())


@pytest.mark.parametrize(
    ("answer", "source", "complaint"),
    [
        (Answer(), {"sha256": OTHER_SUM}, f"SHA-256 is {SUM}, expected was {OTHER_SUM}"),
        (Answer(etag=OTHER_SUM), {}, f"SHA-256 is {SUM}, expected was {OTHER_SUM}"),
        (Answer(), {"size": 5}, f"has {SIZE} bytes where 5 were expected"),
        (Answer(etag="1f0c"), {}, "Nobody says which SHA-256 m.gguf must have"),
    ],
)
def test_what_is_another_file_than_was_said_is_refused(
    answer: Answer, source: dict[str, Any], complaint: str, place: Place, hub: Hub
) -> None:
    hub.answers[PATH] = answer
    with pytest.raises(DownloadFailed, match=complaint):
        place.get(manifest(**source))
    assert place.models() == {}
    assert not place.kept()


# --- the disk --------------------------------------------------------------------------------


class FailingDisk(OperatingSystem):
    """Its calls fail for names that `is_meant` picks out, as long as it is ill."""

    def __init__(self, code: int, is_meant: Callable[[str, Path], bool]) -> None:
        self.code = code
        self.is_meant = is_meant
        self.is_ill = True

    def replace(self, src: Path, dst: Path) -> None:
        self._check("replace", dst)
        super().replace(src, dst)

    def mkdir(self, path: Path, mode: int = 0o777) -> None:
        self._check("mkdir", path)
        super().mkdir(path, mode)

    def _check(self, call: str, path: Path) -> None:
        if self.is_ill and self.is_meant(call, path):
            raise OSError(self.code, os.strerror(self.code))


DISKS: dict[str, tuple[int, Callable[[str, Path], bool], type[JanError]]] = {
    "full at the record": (errno.ENOSPC, lambda _, path: path.name == "@m.json", DiskFull),
    "full at the folder": (errno.ENOSPC, lambda call, path: path.name == "m", DiskFull),
    "full at the manifest": (errno.ENOSPC, lambda _, path: path.name == "model.json", DiskFull),
    "full at the rename": (errno.ENOSPC, lambda _, path: path.name == "m.gguf", DiskFull),
    "not ours at the rename": (errno.EACCES, lambda _, path: path.name == "m.gguf", JanError),
}


@pytest.mark.parametrize(("code", "is_meant", "error"), DISKS.values(), ids=DISKS)
def test_a_disk_that_fails_publishes_no_weights(
    code: int, is_meant: Any, error: type[JanError], place: Place, hub: Hub
) -> None:
    hub.answers[PATH] = Answer()
    disk = FailingDisk(code, is_meant)
    place.files_layer = Files(root=place.root, system=disk)
    with pytest.raises(error):
        place.get(manifest())
    assert "models/m/m.gguf" not in place.models()
    disk.is_ill = False
    place.get(manifest())
    assert place.files() == published(manifest())


@pytest.mark.parametrize("at", list(PLACES.values())[:3], ids=list(PLACES)[:3])
def test_a_disk_that_is_full_keeps_what_is_there(
    at: int, place: Place, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.answers[PATH] = Answer()
    write = partial.PartialFile._write_all

    def full(self: Any, data: bytes) -> None:
        if self.tell() + len(data) > at:
            self._file = _Full(self._file)
        write(self, data)

    monkeypatch.setattr(partial.PartialFile, "_write_all", full)
    with pytest.raises(DiskFull, match="make room and ask again"):
        place.get(manifest())
    kept = place.kept()
    assert kept is not None
    assert kept <= at
    monkeypatch.undo()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("NO_PROXY", "*")
    hub.asked.clear()
    place.get(manifest())
    assert hub.gets() == [expected_range(kept)]
    assert place.files() == published(manifest())


class _Full:
    """A file on a disk that is full."""

    def __init__(self, file: Any) -> None:
        self._real = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def write(self, data: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
