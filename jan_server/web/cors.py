"""Which web pages may read our answers: the origins, and the headers that tell browsers.

Loopback origins are allowed, since who can serve a page from this machine is its user; so are the
desktop shells that Jan-shaped clients live in. `null` is never allowed: any page can make itself
one. Nothing here uses cookies, so `Access-Control-Allow-Credentials` is never sent. Preflights are
answered by the guard, behind its Host check; `Errors` puts the marks on every answer, since pages
could not read errors without them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from jan_server.web.fields import Fields

_ALLOWED = re.compile(
    r"https?://(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?"
    r"|tauri://localhost|https?://tauri\.localhost"
    r"|(app|vscode-webview)://[^/,\s]*"
)
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
EXPOSED = "ETag, Retry-After, x-request-id, X-Jan-Stale"

Header = tuple[bytes, bytes]


class Origins:
    """The origins whose pages may use the server; `more` are exact, as browsers send them."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        self._more = frozenset(more) - {"null"}

    def __contains__(self, origin: str) -> bool:
        return origin in self._more or _ALLOWED.fullmatch(origin) is not None


def is_preflight(method: str, sent: Fields) -> bool:
    return method == "OPTIONS" and b"origin" in sent and b"access-control-request-method" in sent


def preflight_headers(sent: Fields) -> dict[str, str]:
    """What an allowed page may send: any method, and whatever headers it asks for."""
    answer = {"access-control-allow-methods": METHODS, "access-control-max-age": "600"}
    if asked := sent.get(b"access-control-request-headers"):
        answer["access-control-allow-headers"] = asked.decode("latin-1")
    if sent.get(b"access-control-request-private-network") == b"true":
        answer["access-control-allow-private-network"] = "true"
    return answer


class Cors:
    """Which headers every answer has for browsers: who may read it, and what it depends on.

    `vary` are request headers that answers depend on beside `Origin`.
    """

    def __init__(self, origins: Origins, *, vary: Iterable[str] = ()) -> None:
        self._origins = origins
        self._vary = (*vary, "Origin")
        self._usual_vary = (b"vary", ", ".join(self._vary).encode())

    def mark(self, headers: list[Header], sent: Fields) -> None:
        """Adds them to the `headers` of the answer to a request that had `sent`."""
        if b"vary" in dict(headers):
            self._add_to_vary(headers)
        else:
            headers.append(self._usual_vary)
        if (origin := sent.get(b"origin")) and origin.decode("latin-1") in self._origins:
            headers.append((b"access-control-allow-origin", origin))
            headers.append((b"access-control-expose-headers", EXPOSED.encode()))

    def _add_to_vary(self, headers: list[Header]) -> None:
        own = [value.decode("latin-1") for name, value in headers if name == b"vary"]
        known = {name.strip().lower() for value in own for name in value.split(",")}
        new = [name for name in self._vary if name.lower() not in known]
        headers[:] = [header for header in headers if header[0] != b"vary"]
        headers.append((b"vary", ", ".join([*own, *new]).encode("latin-1")))
