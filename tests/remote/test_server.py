"""Which server answers a model, by what people write into `engines/<name>.json`."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jan_server.remote import CHAT, EMBEDDINGS, TEXTS, Remote, find
from jan_server.types.model import Manifest

URL = "https://there.example/v1/chat/completions"
FILE = "engines/openai.json"


@pytest.fixture
def found(data_folder: Path) -> Callable[..., Remote | None]:
    def of(engine: str = "openai", **settings: Any) -> Remote | None:
        manifest = Manifest.from_value({"engine": engine, "settings": settings})
        return find(data_folder, "mine", manifest)

    return of


def test_the_file_that_jan_writes_is_read(found, write):
    write(FILE, {"full_url": URL, "api_key": " sk-1\n"})
    assert found() == Remote(id="mine", engine="openai", name="mine", url=URL, key="sk-1")


def test_a_manifest_can_say_the_name_there_and_parameters(data_folder, write):
    write(FILE, {"full_url": URL})
    manifest = Manifest.from_value(
        {
            "engine": "openai",
            "settings": {"remote_model": "org/There-7B"},
            "parameters": {"temperature": "0.5"},
        }
    )
    assert find(data_folder, "mine", manifest) == Remote(
        id="mine", engine="openai", name="org/There-7B", parameters={"temperature": 0.5}, url=URL
    )


@pytest.mark.parametrize("engine", ["", "nitro", "ctransformers", "echo", "../x", "a/b", ".x"])
def test_what_runs_here_or_is_no_name_is_not_remote(found, write, engine):
    write("engines/nitro.json", {"full_url": URL})
    write("engines/echo.json", {"full_url": URL})
    write("x.json", {"full_url": URL})
    write("engines/.x.json", {"full_url": URL})
    assert found(engine) is None


def test_a_file_makes_any_other_name_remote(found, write):
    assert found("groq") is None
    write("engines/groq.json", {"something": "else"})
    assert found("groq") is None
    write("engines/groq.json", {"full_url": URL, "api_key": "k"})
    assert found("groq") == Remote(id="mine", engine="groq", name="mine", url=URL, key="k")
    write("engines/groq.json", "full_url")
    assert found("groq").problem == "engines/groq.json:1:1 expected a value"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", f"{FILE}:1:1 is empty"),
        ('{"full_url": 1,}', f"{FILE}:1:16 expected a key in double quotes"),
        ([], f"{FILE} is not a JSON object"),
        (" " * 70_000, f"{FILE} has more than 65536 bytes"),
        ({"full_url": URL, "api_key": 5}, f"{FILE}: api_key must be a string"),
        (
            {"full_url": URL, "api_key": "sk-<your key here>"},
            f"{FILE}: api_key is still the example: put your own key there",
        ),
        (
            {"full_url": URL, "api_key": "a\nb"},
            f"{FILE}: api_key holds what no key holds, such as a line break",
        ),
        (
            {"full_url": URL, "api_key": "schlüssel"},
            f"{FILE}: api_key holds what no key holds, such as a line break",
        ),
        (
            {"full_url": "http://me:pw@there.example/v1/chat/completions"},
            f"{FILE}: full_url must not hold a user or a password: the key's place is api_key",
        ),
    ],
)
def test_what_is_wrong_with_the_file_is_said(found, write, content, problem):
    write(FILE, content)
    assert found().problem == problem


@pytest.mark.parametrize(
    "url",
    [
        None,
        8,
        "",
        "there.example/v1/chat/completions",
        "ftp://there.example/v1/chat/completions",
        "file:///v1/chat/completions",
        "http:///v1/chat/completions",
        "http://[::1/v1/chat/completions",
        "http://there.example:99999/v1/chat/completions",
        "http://there.example/v1/chat/completions\r\nx",
        "http://there.example/v1 /chat/completions",
        "http://there.example/v1",
        "http://there.example/v1/xchat/completions",
    ],
)
def test_an_address_is_of_chat_completions(found, write, url):
    write(FILE, {"full_url": url, "api_key": "k"})
    assert found().problem == (
        f"{FILE}: full_url must be the http(s) address of chat completions, which ends in "
        "/v1/chat/completions"
    )
    if isinstance(url, str):
        write(FILE, {})
        assert found(full_url=url).problem.startswith("its model.json: settings.full_url must be")


def test_a_file_that_is_missing_is_named_with_what_it_is_to_hold(found):
    assert found().problem == (
        f"{FILE} is not there; it is to hold "
        '{"full_url": "https://.../v1/chat/completions", "api_key": "..."}'
    )


def test_what_is_no_readable_file_is_said(found, data_folder, write, monkeypatch):
    write(FILE, {"full_url": URL}).unlink()
    os.mkfifo(data_folder / FILE)  # Opening it would wait for a writer.
    assert "is not there" in found().problem
    (data_folder / FILE).unlink()
    write(FILE, {"full_url": URL})

    def failing(*_: object) -> None:  # As a bad disk does it: no file that root cannot read does.
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "open", failing)
    assert found().problem == f"{FILE} cannot be read: Input/output error"


def test_the_manifests_own_address_needs_no_file(found):
    here = "http://10.0.0.7:8000/v1/chat/completions"
    assert found(full_url=here) == Remote(id="mine", engine="openai", name="mine", url=here)


def test_the_files_key_goes_only_to_the_machine_that_the_file_names(found, write):
    write(FILE, {"full_url": URL, "api_key": "k"})
    beside = "https://there.example/v2/chat/completions"
    assert (found(full_url=beside).url, found(full_url=beside).key) == (beside, "k")
    for url in (
        "https://elsewhere.example/v1/chat/completions",
        "http://there.example/v1/chat/completions",
        "https://there.example:444/v1/chat/completions",
    ):
        assert (found(full_url=url).url, found(full_url=url).key) == (url, "")


def test_the_other_addresses_are_beside_it_with_its_query():
    remote = Remote(id="m", engine="openai", name="m", url=f"{URL}?api-version=1")
    assert [remote.address(path) for path in (CHAT, TEXTS, EMBEDDINGS)] == [
        "https://there.example/v1/chat/completions?api-version=1",
        "https://there.example/v1/completions?api-version=1",
        "https://there.example/v1/embeddings?api-version=1",
    ]


def test_a_remote_model_shows_neither_key_nor_query():
    remote = Remote(id="m", engine="openai", name="n", url=f"{URL}?key=secret", key="secret")
    assert repr(remote) == "<Remote m: n at https://there.example>"
    assert f"{remote}" == repr(remote)
