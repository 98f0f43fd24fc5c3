"""Which web pages may read our answers: the origins, and the headers that tell browsers.

Loopback origins are allowed, since who can serve a page from this machine is its user; so are the
desktop shells that Jan-shaped clients live in. `null` is never allowed: any page can make itself
one. Nothing here uses cookies, so `Access-Control-Allow-Credentials` is never sent. Preflights are
answered by the guard, behind its Host check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALLOWED = re.compile(
    r"https?://(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?"
    r"|tauri://localhost|https?://tauri\.localhost"
    r"|(app|vscode-webview)://[^/]*"
)
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
EXPOSED = "ETag, Retry-After, x-request-id, X-Jan-Stale"


class Origins:
    """The origins whose pages may use the server; `more` are exact, as browsers send them."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        self._more = frozenset(more) - {"null"}

    def __contains__(self, origin: str) -> bool:
        return origin in self._more or _ALLOWED.fullmatch(origin) is not None


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    return (
        method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers
    )


def preflight_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What an allowed page may send: any method, and whatever headers it asks for."""
    answer = {"access-control-allow-methods": METHODS, "access-control-max-age": "600"}
    if asked := headers.get("access-control-request-headers"):
        answer["access-control-allow-headers"] = asked
    if headers.get("access-control-request-private-network") == "true":
        answer["access-control-allow-private-network"] = "true"
    return answer


class Cors:
    """ASGI middleware, the outermost: pages could not read errors without these headers."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origin = Headers(scope=scope).get("origin", "")

        async def send_with_origin(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._mark(MutableHeaders(scope=message), origin)
            await send(message)

        await self._app(scope, receive, send_with_origin)

    def _mark(self, headers: MutableHeaders, origin: str) -> None:
        if "origin" not in headers.get("vary", "").lower():
            headers.add_vary_header("Origin")
        if origin in self._origins:
            headers["access-control-allow-origin"] = origin
            headers["access-control-expose-headers"] = EXPOSED
