"""The ASGI application: the table of routes over the services, inside the web layer's guard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from jan_server.routes import ROUTES, jan05
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.web.routing import Router
from jan_server.web.stack import stack


def create_app(settings: Settings) -> Starlette:
    """The only way to make a server; `app.state.services` is what it has open.

    Raises SettingsInvalid when the data folder cannot be used.
    """
    services = Services(settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        services.start()
        yield
        await services.close()

    app = Starlette(lifespan=lifespan)
    app.state.services = services
    # Our routes look at the raw path, and Starlette's at the decoded one: theirs is an empty table.
    app.router.redirect_slashes = False
    # `Errors` is around them: Starlette's own layers for errors would find nothing to do.
    app.middleware_stack = app.router
    app.router.default = stack(
        Router(
            ROUTES,
            services,
            prefix="/v1",
            body_limit=settings.max_body,
            closing=services.closing,
            read_only=settings.read_only,
            silent_sockets=jan05.SILENT_SOCKETS,
        ),
        api_key=settings.api_key,
        allowed_hosts=settings.allowed_host,
        allowed_origins=settings.allowed_origin,
        vary=["OpenAI-Beta"],
    )
    return app
