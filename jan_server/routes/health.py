"""Is the server up, and what has it loaded."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from jan_server import __version__
from jan_server.engines.pooled import Seen
from jan_server.services import Services
from jan_server.web.responses import json_response
from jan_server.web.routing import Route


class Health(Struct, kw_only=True):
    """`models` are those in memory or on their way there, `loaded` says how they are."""

    status: Literal["ok"] = "ok"
    version: str = __version__
    models: list[str] = []
    loaded: list[Seen] = []


async def health(services: Services, _request: Request) -> Response:
    loaded = services.pool.seen()
    return json_response(Health(models=[model.id for model in loaded], loaded=loaded))


ROUTES = [
    Route(
        "GET",
        "/healthz",
        health,
        at_root=True,
        operation_id="getHealth",
        tag="Server",
        summary="Is the server up",
        response=Health,
    )
]
