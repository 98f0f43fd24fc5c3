"""Everything around one router, in the order that makes every answer right.

CORS is outermost, so that pages can read the errors; the errors come next, so that what the guard
refuses is answered like anything else, under a request id, the rest of its body read away.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp

from jan_server.web.cors import Cors, Origins
from jan_server.web.errors import Errors
from jan_server.web.routing import Router
from jan_server.web.security import Guard, Hosts


def stack(
    router: Router[Any],
    *,
    allowed_hosts: Iterable[str] = (),
    allowed_origins: Iterable[str] = (),
) -> ASGIApp:
    """The whole application for HTTP; the lifespan belongs to whoever puts it into an app."""
    origins = Origins(allowed_origins)
    guard = Guard(router, hosts=Hosts(allowed_hosts), origins=origins, changes=router.changes)
    return Cors(Errors(guard), origins)
