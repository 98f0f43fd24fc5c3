"""The server that runs on a data folder, as commands ask it.

    with running_server(settings) as server:
        if server:
            server.ask("PUT", f"/v1/models/{quoted(id)}/stop", type=StoppedModel)

What the server says is wrong is told in its own words. A server that runs and does not answer is an
error, never passed over: it may be about to write to the very files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from jan_server import presence
from jan_server.errors import JanError, SettingsInvalid, Unauthorized
from jan_server.presence import Presence
from jan_server.settings import SETTINGS_FILE, Settings

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds: a list waits for the first look at a large folder, an unload for a chunk of a prompt."""


class ServerFailed(JanError):
    """The running server cannot be reached, or does not answer what is understood."""

    code = "server_failed"


class ServerRefused(JanError):
    """The running server answered with an error: its words, status, type and code."""

    def __init__(self, message: str, *, status: int, type: str, code: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.code = code or ""


class _Detail(msgspec.Struct):
    message: str
    type: str = ""
    code: str | None = None


class _Body(msgspec.Struct):
    error: _Detail


class Client:
    """The API at one address; `close` it."""

    def __init__(self, presence: Presence, settings: Settings) -> None:
        self.presence = presence
        self._settings = settings
        self._http = httpx2.Client(
            base_url=presence.url,
            headers=headers(settings),
            timeout=PATIENCE,
            trust_env=False,  # A proxy is no way to this machine.
        )

    def __repr__(self) -> str:
        return f"<Client of {self.presence.url}>"

    def ask(
        self,
        method: str,
        path: str,
        *,
        type: type[T],
        query: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> T:
        """The answer's body, decoded. `path` as the table of routes has it, its ids `quoted`.

        Raises ServerFailed, ServerRefused, and SettingsInvalid for a key that is not the server's.
        """
        content = None if body is None else msgspec.json.encode(body)
        with translated(self.presence):
            response = self._http.request(method, path, params=query, content=content)
        if response.status_code >= 400:
            raise refusal(response.status_code, response.content, self.presence, self._settings)
        return decoded(response.content, type, self.presence)

    def close(self) -> None:
        self._http.close()


@contextmanager
def running_server(settings: Settings) -> Iterator[Client | None]:
    """The server that runs on this data folder, for the block; None when there is none."""
    found = presence.find(settings.data_folder)
    if found is None:
        yield None
        return
    with closing(Client(found, settings)) as client:
        yield client


def quoted(id: str) -> str:
    """An id as a part of a path; the slash in a model's id stays."""
    return quote(id)


def headers(settings: Settings) -> dict[str, str]:
    return {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}


@contextmanager
def translated(presence: Presence) -> Iterator[None]:
    """What fails between us and the server is a ServerFailed."""
    try:
        yield
    except httpx2.TimeoutException as error:
        raise ServerFailed(
            f"{said(presence)} does not answer. Wait, or end it and try again."
        ) from error
    except httpx2.HTTPError as error:
        raise ServerFailed(
            f"{said(presence)} cannot be reached: {str(error) or type(error).__name__}. "
            "End it, or ask from where it runs."
        ) from error


def decoded(body: bytes, type: type[T], presence: Presence) -> T:
    """What a server answered. Raises ServerFailed."""
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.DecodeError as error:
        raise ServerFailed(
            f"{said(presence)} answers what this version does not understand ({error}). "
            f"It is version {presence.version}: start it anew."
        ) from error


def refusal(status: int, body: bytes, presence: Presence, settings: Settings) -> JanError:
    """The error that an answer with such a status tells of."""
    if status == Unauthorized.status:
        wrong = "another API key than the one it got" if settings.api_key else "its API key"
        return SettingsInvalid(
            f"{said(presence)} demands {wrong}: say it with --api-key, JAN_API_KEY, or api-key "
            f"in {settings.data_folder / SETTINGS_FILE}."
        )
    try:
        detail = msgspec.json.decode(body, type=_Body).error
    except msgspec.DecodeError:
        detail = _Detail(message=f"{said(presence)} answered with status {status}.")
    return ServerRefused(detail.message, status=status, type=detail.type, code=detail.code)


def said(presence: Presence) -> str:
    return f"The server at {presence.url} (process {presence.pid})"
