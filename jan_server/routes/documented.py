"""What threads and assistants have in common: a folder with a document each, and an index of all.

A read of what has not changed since is answered on the event loop, by one `stat`; what must be
opened, scanned or written goes to a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from jan_server import representations
from jan_server.store import Collection, Entry, Index
from jan_server.store.collection import Condition
from jan_server.types.page import PageQuery
from jan_server.web.conditions import condition, resource_headers, resource_response
from jan_server.web.responses import json_bytes_response, json_response


async def entry_response(collection: Collection, request: Request, id: str) -> Response:
    """One resource, or a 304. Raises as Collection.shown."""
    entry = collection.index.current(id)
    if entry is None:
        entry = await asyncio.to_thread(collection.shown, id)
    client = representations.client_of(request.headers)
    return resource_response(
        request,
        _seen_by(client, collection.place.kind.name)(entry),
        etag=representations.view_etag(client, entry.etag),
        stale=entry.problem,
    )


async def index_response(index: Index, request: Request, query: PageQuery) -> Response:
    """The list, as this client expects it. Raises as Index.oldest_first."""
    kind = index.place.kind.folder
    client = representations.client_of(request.headers, query)
    if representations.is_bare(kind, client):
        body = index.kept_body() or await asyncio.to_thread(index.newest_first_body)
        return json_bytes_response(body)
    oldest_first = index.kept_order() or await asyncio.to_thread(index.oldest_first)
    show = _seen_by(client, index.place.kind.name)
    listing = representations.listing(kind, oldest_first, query, client, show=show)
    return json_response(listing)


def changed_response(kind: str, request: Request, entry: Entry) -> Response:
    """What a change has made of a resource."""
    client = representations.client_of(request.headers)
    etag = representations.view_etag(client, entry.etag)
    return json_response(
        _seen_by(client, kind)(entry), headers=resource_headers(etag, stale=entry.problem)
    )


def document_condition(request: Request) -> Condition:
    """The request's If-Match and If-None-Match. Raises InvalidRequest for what are none."""
    check, client = condition(request), representations.client_of(request.headers)
    return lambda document: check(representations.view_etag(client, document.etag))


def _seen_by(client: representations.Client, kind: str) -> Callable[[Entry], Any]:
    """How this client sees what lists keep for most."""
    if client is not representations.Client.OPENAI:
        return lambda entry: msgspec.Raw(entry.body)
    return lambda entry: representations.for_openai(kind, msgspec.json.decode(entry.body))
