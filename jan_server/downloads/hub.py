"""Files of the hub, and of plain https addresses: both through huggingface_hub's `http_get`.

`hf_hub_download` is not used: it writes to a name of its own choice, cannot hash, and hf_xet goes
past Python. `http_get` writes into any file, goes on from any byte, and continues after a cut
connection.

Imported when such a download starts: huggingface_hub takes 0.2 s.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from huggingface_hub import get_hf_file_metadata
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils.tqdm import silent_tqdm

from jan_server.downloads import addresses, publish
from jan_server.downloads.asking import requests
from jan_server.downloads.partial import PartialFile
from jan_server.downloads.retrying import TryAgain
from jan_server.errors import DownloadFailed
from jan_server.types.model import Source

FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/(?:resolve|blob)/(?P<revision>[^/]+)/(?P<path>.+)")
SHA256 = re.compile(r"[0-9a-f]{64}")
RANGE_REFUSED = 416


def fetch_from_hub(source: Source, partial: PartialFile, scratch: Path) -> None:
    """Get a file of the hub (or of the mirror HF_ENDPOINT); its size and sum are the hub's own."""
    found = FILE.fullmatch(urlsplit(source.url).path)
    if found is None:
        raise DownloadFailed(f"{addresses.shown(source.url)} names no file of a repository.")
    endpoint = addresses.endpoint()
    url = f"{endpoint}/{found['repo']}/resolve/{found['revision']}/{found['path']}"
    with requests(url, raise_if_stopped=partial.raise_if_stopped):
        metadata = get_hf_file_metadata(url, endpoint=endpoint)
        # Of a large file, and only of such, the hub's ETag is its SHA-256.
        etag = metadata.etag if SHA256.fullmatch(metadata.etag or "") else None
        partial.expect(size=metadata.size, sha256=etag)
        _get(url, partial, scratch, headers=build_hf_headers())


def fetch_address(source: Source, partial: PartialFile, scratch: Path) -> None:
    """Get a file from anywhere by https; its manifest must say what it is."""
    with requests(source.url, raise_if_stopped=partial.raise_if_stopped):
        _get(source.url, partial, scratch, headers={})


def _get(url: str, partial: PartialFile, scratch: Path, *, headers: dict[str, str]) -> None:
    partial.raise_if_unverifiable()
    done = partial.resume()
    publish.check_space(scratch, (partial.expected_size or 0) - done)
    partial.meter.begin("downloading", partial.expected_size, done=done)
    try:
        _get_from(url, partial, headers)
    except HfHubHTTPError as error:
        if error.response.status_code != RANGE_REFUSED or not partial.tell():
            raise
        partial.restart()
        _get_from(url, partial, headers)


def _get_from(url: str, partial: PartialFile, headers: dict[str, str]) -> None:
    """The bytes that are missing."""
    try:
        http_get(
            url,
            cast(BinaryIO, partial),
            resume_size=partial.tell(),
            headers=headers,
            expected_size=partial.expected_size,
            tqdm_class=cast(Any, silent_tqdm),
        )
    except OSError as error:
        # Its word for a body that ended early, which no length and no protocol gave away.
        if "Consistency check failed" not in str(error):
            raise
        raise TryAgain(str(error).partition("\n")[0]) from error
