"""Everything around one router, in the order that makes every answer right.

`Errors` is outermost, so that what the guard refuses is answered like anything else, under a
request id, with what pages need to read it, the rest of its body read away.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp

from jan_server.web.api_key import ApiKey
from jan_server.web.cors import Cors, Origins
from jan_server.web.errors import Errors
from jan_server.web.routing import Router
from jan_server.web.security import Guard, Hosts


def stack(
    router: Router[Any],
    *,
    api_key: str | None = None,
    allowed_hosts: Iterable[str] = (),
    allowed_origins: Iterable[str] = (),
    vary: Iterable[str] = (),
) -> ASGIApp:
    """The whole application for HTTP; the lifespan belongs to whoever puts it into an app.

    `vary` are the request headers that answers of these routes depend on.
    """
    origins = Origins(allowed_origins)
    keyed: ASGIApp = ApiKey(router, api_key) if api_key else router
    guard = Guard(keyed, hosts=Hosts(allowed_hosts), origins=origins, changes=router.changes)
    return Errors(guard, Cors(origins, vary=vary).mark, form_of=router.error_form)
