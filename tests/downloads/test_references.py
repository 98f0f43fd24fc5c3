"""What people call a model that no manifest knows yet, and what the hub says of it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from jan_server.downloads.references import (
    Address,
    Reference,
    RepositoryFile,
    choose,
    model_id,
    parse,
)
from jan_server.downloads.repositories import look_up
from jan_server.errors import DownloadFailed, InvalidRequest, NotFound
from tests.downloads.hub import OTHER_SUM, SUM, Answer, Hub


def repo(name: str, file: str | None = None, revision: str = "main") -> Reference:
    return Reference(repo=name, file=file, revision=revision)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("org/repo", repo("org/repo")),
        ("org/repo:Q8_0", repo("org/repo", "Q8_0")),
        ("org/repo:sub/m-00001-of-00002.gguf", repo("org/repo", "sub/m-00001-of-00002.gguf")),
        ("hf.co/org/repo:Q8_0", repo("org/repo", "Q8_0")),
        ("https://huggingface.co/org/repo", repo("org/repo")),
        ("https://huggingface.co/org/repo/", repo("org/repo")),
        ("https://hf.co/org/repo/tree/v2", repo("org/repo", revision="v2")),
        (
            "https://huggingface.co/org/repo/resolve/main/a%20b.gguf?download=true",
            repo("org/repo", "a b.gguf"),
        ),
        ("https://huggingface.co/org/repo/blob/abc/m.gguf", repo("org/repo", "m.gguf", "abc")),
        ("http://mirror.local:81/org/repo", repo("org/repo")),
        (f"https://h/m.gguf#sha256={SUM}", Address(url="https://h/m.gguf", sha256=SUM)),
        (f"https://h/m.gguf#sha256={SUM.upper()}", Address(url="https://h/m.gguf", sha256=SUM)),
        ("https://huggingface.co/", None),
        ("https://huggingface.co/org", None),
        ("model", None),
        ("a/b/c", None),
        ("org/../x", None),
        ("org/repo:", None),
        ("", None),
    ],
)
def test_what_a_name_means(text: str, reference: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.local:81")
    assert parse(text) == reference


@pytest.mark.parametrize("end", ["", "#sha256=12", "#m"])
def test_another_address_must_have_its_sum(end: str) -> None:
    with pytest.raises(InvalidRequest, match="add `#sha256=` and the 64 digits of its sum"):
        parse(f"https://user:secret@h/m.gguf{end}")


@pytest.mark.parametrize("scheme", ["http", "ftp"])
def test_another_address_must_be_of_https(scheme: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{scheme}://h/m.gguf is not asked .* only https"):
        parse(f"{scheme}://user:secret@h/m.gguf")


def files(*names: str) -> list[RepositoryFile]:
    return [RepositoryFile(name=name) for name in names]


@pytest.mark.parametrize(
    ("asked", "listed", "chosen"),
    [
        (None, ["m.Q8_0.gguf", "m.Q4_K_M.gguf", "m.Q2_K.gguf"], ["m.Q4_K_M.gguf"]),
        (None, ["m-q8_0.gguf", "m-q5_k_m.gguf"], ["m-q5_k_m.gguf"]),
        (None, ["m-Q2_K.gguf", "m-F16.gguf"], ["m-Q2_K.gguf"]),
        (None, ["only.IQ1_M.gguf", "README.md", "mmproj-m.gguf"], ["only.IQ1_M.gguf"]),
        (None, ["m.gguf", "m.Q8_0.gguf"], ["m.gguf"]),
        ("Q8_0", ["m.Q8_0.gguf", "m.Q4_K_M.gguf"], ["m.Q8_0.gguf"]),
        ("q8_0", ["m.Q8_0.gguf", "m.Q4_K_M.gguf"], ["m.Q8_0.gguf"]),
        ("m.Q8_0.gguf", ["x/m.Q8_0.gguf", "m.Q4_K_M.gguf"], ["x/m.Q8_0.gguf"]),
        ("m.gguf", ["m.gguf", "x/m.gguf"], ["m.gguf"]),
        (
            None,
            ["m-Q4_K_M-00002-of-00002.gguf", "m-Q4_K_M-00001-of-00002.gguf", "m-Q8_0.gguf"],
            ["m-Q4_K_M-00001-of-00002.gguf", "m-Q4_K_M-00002-of-00002.gguf"],
        ),
        (
            "Q8_0",
            ["q/m-Q8_0-00001-of-00002.gguf", "q/m-Q8_0-00002-of-00002.gguf", "m-Q4_0.gguf"],
            ["q/m-Q8_0-00001-of-00002.gguf", "q/m-Q8_0-00002-of-00002.gguf"],
        ),
    ],
)
def test_which_file_is_chosen(asked: str | None, listed: list[str], chosen: list[str]) -> None:
    assert [file.name for file in choose(repo("o/r", asked), files(*listed))] == chosen


@pytest.mark.parametrize(
    ("asked", "listed", "hint"),
    [
        ("Q3_K_M", ["m.Q8_0.gguf", "m.Q4_0.gguf"], "There are: m.Q4_0.gguf, m.Q8_0.gguf."),
        (None, ["a.Q4_K_M.gguf", "b.Q4_K_M.gguf"], "Say which file, as ORG/REPO:FILE"),
        (None, ["a.IQ1_S.gguf", "a.IQ1_M.gguf"], "There are: a.IQ1_M.gguf, a.IQ1_S.gguf."),
        (None, ["README.md", "mmproj-m.gguf"], "It has no .gguf file that could be loaded"),
        (None, ["m-00001-of-00002.gguf"], "It has no .gguf file that could be loaded"),
        ("m-00002-of-00002.gguf", [f"m-0000{n}-of-00002.gguf" for n in (1, 2)], "There are: m-0"),
        (None, [f"m{n}.Q4_0.gguf" for n in range(25)], "and 5 more"),
    ],
)
def test_where_none_or_several_fit_the_choices_are_said(
    asked: str | None, listed: list[str], hint: str
) -> None:
    with pytest.raises(NotFound, match=hint):
        choose(repo("o/r", asked), files(*listed))


@pytest.mark.parametrize(
    ("reference", "file", "id"),
    [
        (repo("org/My.Repo-GGUF"), "m.Q4_0.gguf", "org/My.Repo-GGUF"),
        (repo("org/repo", "Q4_0"), "x/m.Q4_0.gguf", "org/m.Q4_0"),
        (repo("org/repo", "x"), "a b-00001-of-00003.gguf", "org/a-b"),
        (repo("org/download", "x"), "m.gguf", "org/m"),
        (Address(url="https://h/a/m%20x.gguf?y=1", sha256=SUM), "", "m-x"),
    ],
)
def test_the_id_says_where_it_comes_from(reference: Any, file: str, id: str) -> None:
    assert model_id(reference, files(file)) == id


def test_the_name_of_a_file_may_hold_what_an_address_cannot(hub: Hub) -> None:
    hub.offer("org/repo", {"a b#1.gguf": b"weights"})
    _, manifest = look_up(repo("org/repo"))
    [source] = manifest["sources"]
    assert source["url"] == "https://huggingface.co/org/repo/resolve/main/a%20b%231.gguf"


def test_the_hub_is_asked_and_the_manifest_is_of_that_very_revision(hub: Hub) -> None:
    hub.offer("org/repo", {"m.Q4_K_M.gguf": b"weights", "README.md": b"x"}, revision="abc123")
    id, manifest = look_up(repo("org/repo"))
    assert id == "org/repo"
    address = "https://huggingface.co/org/repo/resolve/abc123/m.Q4_K_M.gguf"
    source = manifest["sources"][0]
    assert source.pop("sha256") == hashlib.sha256(b"weights").hexdigest()
    assert manifest == {
        "source_url": address,
        "sources": [{"filename": "m.Q4_K_M.gguf", "url": address, "size": 7}],
        "id": "org/repo",
        "object": "model",
        "name": "m.Q4_K_M",
        "version": "1.0",
        "description": f"Got from {address}",
        "format": "gguf",
        "settings": {"llama_model_path": "m.Q4_K_M.gguf"},
        "parameters": {},
        "metadata": {"author": "org", "tags": [], "quantization": "Q4_K_M", "size": 7},
    }
    assert hub.asked == ["GET /api/models/org/repo/revision/main?blobs=true"]


def test_another_address_needs_no_hub(hub: Hub) -> None:
    id, manifest = look_up(Address(url="https://h/m.gguf", sha256=OTHER_SUM))
    assert (id, manifest["sources"]) == (
        "m",
        [{"filename": "m.gguf", "url": "https://h/m.gguf", "sha256": OTHER_SUM}],
    )
    assert hub.asked == []


@pytest.mark.parametrize(
    ("status", "complaint"),
    [(404, "answered 404"), (401, "answered 401: it needs a login"), (503, "answered 503")],
)
def test_a_hub_that_refuses_is_said(status: int, complaint: str, hub: Hub) -> None:
    hub.answers["/api/models/org/repo/revision/main"] = Answer(status=status)
    with pytest.raises(DownloadFailed, match=complaint):
        look_up(repo("org/repo"))
