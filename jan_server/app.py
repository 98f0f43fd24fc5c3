"""The ASGI application: the table of routes over the services, inside the web layer's guard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Mount

from jan_server.routes import ROUTES
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.web.routing import Router
from jan_server.web.stack import stack


def create_app(settings: Settings) -> Starlette:
    """The only way to make a server. Opens the data folder: raises SettingsInvalid."""
    services = Services(settings)
    router = Router(ROUTES, services, prefix="/v1", body_limit=settings.max_body)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await services.close()

    app = Starlette(
        routes=[
            Mount(
                "/",
                stack(
                    router,
                    allowed_hosts=settings.allowed_host,
                    allowed_origins=settings.allowed_origin,
                ),
            )
        ],
        lifespan=lifespan,
    )
    app.state.services = services
    return app
