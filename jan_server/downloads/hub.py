"""Files of the hub, and of plain https addresses: both through huggingface_hub's `http_get`.

`hf_hub_download` is not used: it writes to a name of its own choice, cannot hash, and hf_xet goes
past Python. `http_get` writes into any file and continues after a cut connection. Every request,
redirects included, passes `addresses.check`.

Imported when such a download starts: huggingface_hub takes 0.2 s.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import constants, get_hf_file_metadata
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import default_client_factory, set_client_factory
from huggingface_hub.utils.tqdm import silent_tqdm

from jan_server.downloads import addresses
from jan_server.downloads.partial import PartialFile
from jan_server.errors import DownloadFailed
from jan_server.types.model import Source

FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/(?:resolve|blob)/(?P<revision>[^/]+)/(?P<path>.+)")
SHA256 = re.compile(r"[0-9a-f]{64}")
CHUNK = 1 << 18

ADVICE = {
    401: "it needs a login; set HF_TOKEN to a token of yours",
    403: "access is denied; accept the model's licence on its page, and set HF_TOKEN",
    404: "there is no such file",
    429: "too many requests; try again later",
}

_current: ContextVar[PartialFile] = ContextVar("current download")


def fetch_from_hub(source: Source, partial: PartialFile) -> None:
    """Get a file of the hub (or of the mirror HF_ENDPOINT); its size and sum are the hub's own."""
    found = FILE.fullmatch(urlsplit(source.url).path)
    if found is None:
        raise DownloadFailed(f"{addresses.shown(source.url)} names no file of a repository.")
    endpoint = addresses.endpoint()
    url = f"{endpoint}/{found['repo']}/resolve/{found['revision']}/{found['path']}"
    with _requests_for(partial, url):
        metadata = get_hf_file_metadata(url, endpoint=endpoint)
        # Of a large file, and only of such, the hub's ETag is its SHA-256.
        etag = metadata.etag if SHA256.fullmatch(metadata.etag or "") else None
        partial.expect(size=metadata.size, sha256=etag)
        _get(url, partial, headers=build_hf_headers())


def fetch_address(source: Source, partial: PartialFile) -> None:
    """Get a file from anywhere by https; its manifest must say what it is."""
    with _requests_for(partial, source.url):
        _get(source.url, partial, headers={})


def _get(url: str, partial: PartialFile, *, headers: dict[str, str]) -> None:
    partial.raise_if_unverifiable()
    partial.meter.begin("downloading", partial.expected_size)
    http_get(
        url,
        cast(BinaryIO, partial),
        headers=headers,
        expected_size=partial.expected_size,
        tqdm_class=cast(Any, silent_tqdm),
    )


@contextmanager
def _requests_for(partial: PartialFile, url: str) -> Iterator[None]:
    """Check each request that is made for the file, and say in plain words what went wrong."""
    _use_checked_client()
    token = _current.set(partial)
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        advice = ADVICE.get(status, "the server has a problem; try again later")
        raise DownloadFailed(f"{addresses.shown(url)} answered {status}: {advice}.") from error
    except httpx2.HTTPError as error:
        connected = not isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout))
        what = "broke off" if connected else "was not possible"
        reason = str(error) or type(error).__name__
        raise DownloadFailed(
            f"The connection to {urlsplit(url).hostname} {what} ({reason}): check the network."
        ) from error
    except OSError as error:
        reason = str(error).partition("\n")[0]
        raise DownloadFailed(f"Getting {addresses.shown(url)} failed: {reason}") from error
    finally:
        _current.reset(token)


@functools.cache
def _use_checked_client() -> None:
    set_client_factory(_checked_client)
    # Its 10 MB would be the step of our progress, and what a cut connection or a stop costs.
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK


def _checked_client() -> httpx2.Client:
    client = default_client_factory()
    hooks = client.event_hooks
    client.event_hooks = {**hooks, "request": [*hooks["request"], _check_request]}
    return client


def _check_request(request: httpx2.Request) -> None:
    """Runs before each request, each redirect and each retry."""
    _current.get().raise_if_stopped()
    addresses.check(str(request.url))
