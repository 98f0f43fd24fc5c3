"""The connections to the servers that answer remote models.

One client keeps them all. It is made when the first is needed: httpx2 takes a third of a second to
import. Proxies of the environment (`HTTPS_PROXY`, `NO_PROXY` ...) are used as other programs do,
but never for this machine itself. Redirects are not followed: they could lead the key elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from jan_server.errors import JanError, RemoteFailed, RemoteTimeout, ShuttingDown
from jan_server.remote.incoming import RemoteAnswer, error_of, read_answer
from jan_server.remote.outgoing import headers, request_body
from jan_server.remote.server import Remote

if TYPE_CHECKING:
    import httpx2

CONNECT_SECONDS = 10.0
MOST_BYTES = 64 * 2**20
"""Of a plain answer: 2,048 embeddings of 4,096 numbers are 40 MB as base64."""
MOST_BYTES_OF_ERROR = 65_536
END_SECONDS = 0.5
# vLLM closes idle connections after five: a request must not meet that.
IDLE_SECONDS = 4.0
THIS_MACHINE = ("all://127.0.0.1", "all://localhost", "all://[::1]")


class Remotes:
    """Asks other servers. `patience`: so many seconds without a byte are too many."""

    def __init__(self, *, patience: float) -> None:
        self._patience = patience
        self._making: asyncio.Task[httpx2.AsyncClient] | None = None
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Remotes: {self._running} running{', closed' if self._closed else ''}>"

    async def ask(self, remote: Remote, path: str, sent: Mapping[str, Any]) -> RemoteAnswer:
        """The plain answer to a request. When it is cancelled, the other server is left.

        `path` is CHAT, TEXTS or EMBEDDINGS, `sent` the request's own JSON object. Raises
        RemoteRefused, RemoteFailed, RemoteTimeout and ShuttingDown.
        """
        with self._counted():
            async with self._response(remote, path, sent) as response:
                body = await _read(response, MOST_BYTES)
                if len(body) > MOST_BYTES:
                    raise RemoteFailed(f"The answer of {remote.origin} is too long.")
                return read_answer(body, remote)

    async def stream(
        self, remote: Remote, path: str, sent: Mapping[str, Any]
    ) -> AsyncGenerator[RemoteAnswer]:
        """The events of a streamed answer, without `[DONE]`. Raises as `ask`, also midway.

        Closing it closes the connection.
        """
        with self._counted():
            async with self._response(remote, path, sent, streams=True) as response:
                events = _events(response)
                async with aclosing(events):
                    async for data in events:
                        if data == "[DONE]":
                            await _end(events)
                            return
                        yield read_answer(data, remote)
        raise RemoteFailed(f"The answer of {remote.origin} broke off before its end.")

    async def drain(self, seconds: float) -> None:
        """Refuse what is new, let what runs end, for so long at most; close."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        await self.close()

    async def close(self) -> None:
        """Answers that still run, and every later request, get ShuttingDown."""
        self._closed = True
        if self._making is not None:
            with suppress(RemoteFailed):
                client = await self._making
                await client.aclose()

    @asynccontextmanager
    async def _response(
        self, remote: Remote, path: str, sent: Mapping[str, Any], *, streams: bool = False
    ) -> AsyncIterator[httpx2.Response]:
        """One with status 200, its body still to come."""
        client = await self._client()
        with self._translating(remote):
            async with client.stream(
                "POST",
                remote.address(path),
                content=msgspec.json.encode(request_body(path, sent, remote)),
                headers=headers(remote, streams=streams),
            ) as response:
                if response.status_code != 200:
                    body = await _read(response, MOST_BYTES_OF_ERROR)
                    raise error_of(response.status_code, response.headers, body, remote)
                yield response

    async def _client(self) -> httpx2.AsyncClient:
        if self._making is None:
            self._making = asyncio.create_task(asyncio.to_thread(_new_client, self._patience))
        # Whoever asked first may leave, and others wait for the same.
        return await asyncio.shield(self._making)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._closed:
            raise _shutting_down()
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    @contextmanager
    def _translating(self, remote: Remote) -> Iterator[None]:
        import httpx2

        try:
            yield
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise (_shutting_down() if self._closed else _failure(error, remote)) from error


def _new_client(patience: float) -> httpx2.AsyncClient:
    import httpx2

    try:
        return httpx2.AsyncClient(
            timeout=httpx2.Timeout(patience, connect=CONNECT_SECONDS, pool=None),
            limits=httpx2.Limits(
                max_connections=None, max_keepalive_connections=20, keepalive_expiry=IDLE_SECONDS
            ),
            mounts=dict.fromkeys(THIS_MACHINE),
            follow_redirects=False,
        )
    except (ValueError, ImportError) as error:  # An unknown kind of proxy, or SOCKS.
        raise RemoteFailed(
            "The proxy that the environment names (HTTPS_PROXY, ALL_PROXY ...) cannot be used."
        ) from error


async def _events(response: httpx2.Response) -> AsyncGenerator[str]:
    """The data of each; comments, which keep a connection open, are passed over."""
    import httpx2

    async for event in httpx2.EventSource(response):
        yield event.data


async def _end(events: AsyncGenerator[str]) -> None:
    """Read away what follows `[DONE]`: only then can the connection serve the next request."""
    import httpx2

    with suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(END_SECONDS):
            async for _ in events:
                pass


async def _read(response: httpx2.Response, most: int) -> bytes:
    """The body; more than `most` when it is longer than that."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > most:
            break
    return bytes(body)


def _failure(error: Exception, remote: Remote) -> JanError:
    import httpx2

    if isinstance(error, httpx2.TimeoutException):
        return RemoteTimeout(f"The remote server at {remote.origin} did not answer in time.")
    if isinstance(error, httpx2.ConnectError | httpx2.ProxyError | httpx2.InvalidURL):
        return RemoteFailed(f"The remote server at {remote.origin} cannot be reached: {error}.")
    if isinstance(error, httpx2.SSEError):
        return RemoteFailed(f"The remote server at {remote.origin} did not answer with events.")
    return RemoteFailed(f"The answer of {remote.origin} broke off: {type(error).__name__}.")


def _shutting_down() -> JanError:
    return ShuttingDown("The server is shutting down.")
