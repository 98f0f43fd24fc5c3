"""The API key, where the user set one: other users of the machine, or of the network, lack it."""

from __future__ import annotations

import hmac

from starlette.types import ASGIApp, Receive, Scope, Send

from jan_server.errors import Unauthorized
from jan_server.web.fields import Fields, fields
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
            self._check(fields(scope))
        await self._app(scope, receive, send)

    def _check(self, sent: Fields) -> None:
        scheme, _, token = sent.get(b"authorization", b"").partition(b" ")
        key = token.strip() if scheme.lower() == b"bearer" else sent.get(b"x-api-key", b"")
        # In constant time: how long a refusal takes tells nothing about the key.
        if not hmac.compare_digest(key, self._key):
            raise Unauthorized(sent=bool(key))
