"""Which server answers a model: `engines/<name>.json`, in the data folder, named as the engine.

    {"full_url": "http://127.0.0.1:8000/v1/chat/completions", "api_key": "..."}

Jan's own `engines/openai.json` has this form. The file is edited by hand while the server runs, so
it is read for every request. A manifest may say another address, `settings.full_url`, but no key:
manifests are shown by the API and travel between people. For the same reason the file's key only
goes to the machine that the file names. Private addresses are fine: they are the user's own choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

from jan_server import engines
from jan_server.store import scanner
from jan_server.types.model import Manifest

CHAT, TEXTS, EMBEDDINGS = "chat/completions", "completions", "embeddings"
"""What it can be asked for, by the path."""

MOST_BYTES = 65_536
PLACEHOLDER = "<your key here>"  # Jan writes `sk-<your key here>` into a new folder.
EXAMPLE = '{"full_url": "https://.../v1/chat/completions", "api_key": "..."}'

_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Remote(Struct, frozen=True, kw_only=True):
    """Where a model is answered.

    `id` is its name here and `name` the one it has there; `parameters` are its manifest's. `url` is
    of chat completions. `problem`: why it cannot be asked, with the file to mend; then the rest is
    as far as it is known.
    """

    id: str
    engine: str
    name: str
    parameters: Mapping[str, Any] = {}
    url: str = ""
    key: str = ""
    problem: str = ""

    def __repr__(self) -> str:
        return f"<Remote {self.id}: {self.name} at {self.origin}>"

    @property
    def origin(self) -> str:
        """The machine, for people: neither path nor query, which could hold a secret."""
        return _origin(self.url) or f"the address in {self.file}"

    @property
    def file(self) -> str:
        return f"engines/{self.engine}.json"

    def address(self, path: str) -> str:
        """`completions` and `embeddings` are beside `chat/completions`; the query stays."""
        parts = urlsplit(self.url)
        return parts._replace(path=parts.path.removesuffix(CHAT) + path).geturl()


def find(data_folder: Path, id: str, manifest: Manifest) -> Remote | None:
    """Where a model is answered; None for one that an engine of this machine runs. Reads the disk.

    What is wrong with the file is the answer's `problem`: it concerns only who asks this model.
    """
    engine, settings = manifest.engine, manifest.settings
    is_remote = engines.is_remote(engine)
    if not is_remote and (engines.is_row(engine) or not _NAME.fullmatch(engine)):
        return None
    known = partial(
        Remote,
        id=id,
        engine=engine,
        name=settings.remote_model or id,
        parameters=manifest.parameters,
    )
    try:
        said = _read(data_folder, f"engines/{engine}.json")
        if not is_remote and "full_url" not in (said or {}):
            return None
        url, key = _url_and_key(f"engines/{engine}.json", said, settings.full_url)
    except _Wrong as wrong:
        return known(problem=str(wrong))
    return known(url=url, key=key)


class _Wrong(Exception):
    """The file, or the place in it, and what is wrong there."""


def _read(data_folder: Path, file: str) -> dict[str, Any] | None:
    """None when there is no such file."""
    path = data_folder / file
    try:
        if not path.is_file():  # Opening a pipe would wait for its writer.
            return None
        with path.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise _Wrong(f"{file} cannot be read: {error.strerror}") from error
    if len(raw) > MOST_BYTES:
        raise _Wrong(f"{file} has more than {MOST_BYTES} bytes")
    value = scanner.decode(raw)
    if isinstance(value, scanner.Problem):
        raise _Wrong(f"{file}:{value}")
    if not isinstance(value, dict):
        raise _Wrong(f"{file} is not a JSON object")
    return value


def _url_and_key(file: str, said: dict[str, Any] | None, own_url: str | None) -> tuple[str, str]:
    """What the file says, `own_url` going before its address."""
    if said is None and own_url is None:
        raise _Wrong(f"{file} is not there; it is to hold {EXAMPLE}")
    of_file, key = (said or {}).get("full_url"), (said or {}).get("api_key")
    if own_url is None:
        return _url(of_file, f"{file}: full_url"), _key(key, f"{file}: api_key")
    url = _url(own_url, "its model.json: settings.full_url")
    if not isinstance(of_file, str) or _origin(of_file) != _origin(url):
        return url, ""
    return url, _key(key, f"{file}: api_key")


def _url(url: Any, place: str) -> str:
    """Says nothing of what the address holds."""
    wrong = _Wrong(
        f"{place} must be the http(s) address of chat completions, which ends in "
        "/v1/chat/completions"
    )
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        raise wrong
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise wrong
    if "@" in parts.netloc:
        raise _Wrong(f"{place} must not hold a user or a password: the key's place is api_key")
    if not parts.path.endswith(f"/{CHAT}"):
        raise wrong
    return url


def _key(key: Any, place: str) -> str:
    """Empty where there is none: servers of one's own often want none."""
    if key is None:
        return ""
    if not isinstance(key, str):
        raise _Wrong(f"{place} must be a string")
    if PLACEHOLDER in key:
        raise _Wrong(f"{place} is still the example: put your own key there")
    stripped = key.strip()
    if not (stripped.isascii() and stripped.isprintable()):
        raise _Wrong(f"{place} holds what no key holds, such as a line break")
    return stripped


def _origin(url: str) -> str:
    parts = _split(url)
    return f"{parts.scheme}://{parts.netloc}" if parts and parts.netloc else ""


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # Raises too.
        return parts
    except ValueError:
        return None
