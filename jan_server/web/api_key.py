"""The API key, where the user set one: other users of the machine, or of the network, lack it."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from jan_server.errors import Unauthorized
from jan_server.web.paths import raw_path

# What tells nothing of the user's: monitors and the page of the documentation need no key.
OPEN_PATHS = frozenset({"", "/healthz", "/openapi.json"})


class ApiKey:
    """ASGI middleware. Takes the key as a bearer token, as OpenAI's clients, or as `X-Api-Key`."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and raw_path(scope) not in OPEN_PATHS:
            self._check(Headers(scope=scope))
        await self._app(scope, receive, send)

    def _check(self, headers: Headers) -> None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        sent = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        # In constant time: how long a refusal takes tells nothing about the key.
        if not hmac.compare_digest(sent.encode("latin-1", "replace"), self._key):
            raise Unauthorized
