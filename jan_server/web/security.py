"""Who may call: under which host name (DNS rebinding), and from which web pages.

A page that rebinds its own name to this machine sends that name as `Host`: only names that cannot
be rebound are answered. A page of any other site can send requests without reading the answer,
whatever CORS says: those that change something are refused before they reach a handler.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from jan_server.errors import (
    Forbidden,
    HostNotAllowed,
    InvalidRequest,
    OriginNotAllowed,
)
from jan_server.web.cors import Origins, is_preflight, preflight_headers
from jan_server.web.fields import Fields, fields

_HOST = re.compile(r"(\[(?P<ipv6>[0-9A-Fa-f:.]+(%[^\]\s]*)?)\]|(?P<name>[^\s:/@\[\]]+))(:\d*)?")

# Docker's name for the machine that the containers run on; it is not in the public DNS.
_ALWAYS_ALLOWED = frozenset({"localhost", "host.docker.internal"})

# Few names are ever used; more of them are made up, and are forgotten again.
REMEMBERED = 64

# What browsers say when nobody has asked for the page yet.
_PREFETCHING = (b"sec-purpose", b"purpose", b"x-moz")


@lru_cache(REMEMBERED)
def host_name(host: str) -> str | None:
    """The name or address in a `Host` header, in lower case without its port; None if garbled."""
    found = _HOST.fullmatch(host)
    return None if found is None else (found["ipv6"] or found["name"]).lower().removesuffix(".")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class Hosts:
    """The names under which the server answers; `more` are names or addresses without a port."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        self._names = _ALWAYS_ALLOWED | {name.lower() for name in more}

    def allow(self, name: str, local: str) -> bool:
        """`local` is the address that the connection came in at: a literal cannot be rebound."""
        address = _address(name)
        if name in self._names or address is None:
            return name in self._names
        return address.is_loopback or address == _address(local)


class Guard:
    """ASGI middleware: raises what is refused, answers preflights, passes on the rest.

    `changes` tells of a scope whether the request would change something (`Router.changes`).
    """

    def __init__(
        self, app: ASGIApp, *, hosts: Hosts, origins: Origins, changes: Callable[[Scope], bool]
    ) -> None:
        self._app = app
        self._allow = lru_cache(REMEMBERED)(hosts.allow)
        self._origins = origins
        self._changes = changes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            sent = fields(scope)
            self._check(scope, sent)
            if is_preflight(scope["method"], sent):
                self._check_origin(sent)
                answer = Response(status_code=204, headers=preflight_headers(sent))
                await answer(scope, receive, send)
                return
        elif scope["type"] == "websocket":
            # Foreign pages could read it too: CORS does not cover them.
            sent = fields(scope)
            self._check_host(scope, sent)
            self._check_origin(sent)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope, sent: Fields) -> None:
        self._check_host(scope, sent)
        if self._changes(scope):
            self._check_origin(sent)
            self._check_intent(sent)

    def _check_host(self, scope: Scope, sent: Fields) -> None:
        name = host_name(sent.get(b"host", b"").decode("latin-1"))
        if name is None:
            raise InvalidRequest("The request needs one valid Host header.")
        local = (scope.get("server") or ("", None))[0]
        if not self._allow(name, local):
            raise HostNotAllowed(
                f"This server does not answer to the name {name[:100]!r}. Use localhost or an IP "
                "address, or allow the name with --allowed-host."
            )

    def _check_origin(self, sent: Fields) -> None:
        """The page's own origin is allowed: its host has passed the check of Host."""
        if b"origin" not in sent:
            return
        origin = sent[b"origin"].decode("latin-1")
        own = origin.partition("://")[2] == sent[b"host"].decode("latin-1")
        if not own and origin not in self._origins:
            raise OriginNotAllowed(
                f"Pages of {origin[:100]!r} may not do this. If you trust it, allow it with "
                "--allowed-origin."
            )

    def _check_intent(self, sent: Fields) -> None:
        if any(b"prefetch" in sent.get(name, b"").lower() for name in _PREFETCHING):
            raise Forbidden("This changes something, so it is not done for a prefetch.")
        if b"origin" not in sent and sent.get(b"sec-fetch-site") == b"cross-site":
            raise OriginNotAllowed("A page of another site may not do this.")
