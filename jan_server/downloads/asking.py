"""Every request that goes out to the hub or another address: checked before, understood after.

Each one, redirects and repetitions included, passes `addresses.check`. What a server says that it
will do later is a TryAgain, raised here: huggingface_hub would wait by itself, for as long as the
server likes, and nobody could stop it.

Imported when such a download starts: huggingface_hub takes 0.2 s.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._http import default_client_factory, set_client_factory

from jan_server.downloads import addresses
from jan_server.downloads.retrying import STATUSES, TryAgain
from jan_server.errors import DownloadFailed

CHUNK = 1 << 18

ADVICE = {
    401: "it needs a login; set HF_TOKEN to a token of yours",
    403: "access is denied; accept the model's licence on its page, and set HF_TOKEN",
    404: "there is no such file",
    429: "too many requests; try again later",
}
OTHERWISE = "the server has a problem; try again later"

_raise_if_stopped: ContextVar[Callable[[], None]] = ContextVar("whether it is stopped")


@contextmanager
def requests(url: str, *, raise_if_stopped: Callable[[], None] = lambda: None) -> Iterator[None]:
    """For the block huggingface_hub's requests are checked, and what goes wrong is said in words.

    `raise_if_stopped` is called before each request. Raises DownloadFailed, TryAgain for what may
    be over soon, and whatever `raise_if_stopped` does.
    """
    _use_checked_client()
    token = _raise_if_stopped.set(raise_if_stopped)
    try:
        yield
    except HfHubHTTPError as error:
        raise DownloadFailed(_refusal(url, error.response.status_code)) from error
    except httpx2.TransportError as error:
        is_connected = not isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout))
        what = "broke off" if is_connected else "was not possible"
        raise TryAgain(
            f"The connection to {urlsplit(url).hostname} {what} ({_reason(error)}): "
            "check the network, and ask again."
        ) from error
    except (httpx2.HTTPError, ValueError, OSError) as error:
        raise DownloadFailed(f"Getting {addresses.shown(url)} failed: {_reason(error)}") from error
    finally:
        _raise_if_stopped.reset(token)


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _refusal(url: str, status: int) -> str:
    return f"{addresses.shown(url)} answered {status}: {ADVICE.get(status, OTHERWISE)}."


@functools.cache
def _use_checked_client() -> None:
    set_client_factory(_checked_client)
    # Its warnings say what `retrying` does, in the midst of the progress bar.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    # Nobody is told what runs here; and what it asks the hub for that first, nobody could stop.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    use_own_steps()


def use_own_steps() -> None:
    """Its 10 MB would be the step of our progress, and what a cut connection or a stop costs."""
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK


def _checked_client() -> httpx2.Client:
    client = default_client_factory()
    hooks = client.event_hooks
    client.event_hooks = {
        "request": [*hooks["request"], _check_request],
        "response": [*hooks["response"], _check_response],
    }
    return client


def _check_request(request: httpx2.Request) -> None:
    """Runs before each request, each redirect and each repetition."""
    _raise_if_stopped.get()()
    addresses.check(str(request.url))


def _check_response(response: httpx2.Response) -> None:
    if response.status_code in STATUSES:
        asked = response.headers.get("retry-after", "")
        raise TryAgain(
            _refusal(str(response.request.url), response.status_code),
            retry_after=int(asked) if asked.isdecimal() and len(asked) < 10 else None,
        )
