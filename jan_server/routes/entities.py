"""Single resources that are no file of their own: lines of one, or what is found in several.

Their entity tag is that of what is answered, so it changes with everything that is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from jan_server.store.document import etag
from jan_server.web.conditions import resource_headers, resource_response
from jan_server.web.responses import json_response


def entity_tag(shown: Any) -> str:
    """Of what is answered as JSON."""
    return etag(msgspec.json.encode(shown))


def entity_response(
    request: Request, shown: Any, *, headers: Mapping[str, str] = MappingProxyType({})
) -> Response:
    """What a read answers, or a 304. Raises as conditions.resource_response."""
    body = msgspec.json.encode(shown)
    return resource_response(request, msgspec.Raw(body), etag=etag(body), headers=headers)


def changed_entity_response(shown: Any) -> Response:
    """What a change has made of it."""
    body = msgspec.json.encode(shown)
    return json_response(msgspec.Raw(body), headers=resource_headers(etag(body)))
