"""The OpenAPI document, made from the route table and the types it names.

What this layer itself does to every request (host and origin checks, body limits, ids) is added
here, so that a row lists only the errors of its own. One that lists PreconditionFailed is of a
resource with an ETag: what goes with that is added too.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from jan_server.errors import (
    BodyTimeout,
    BodyTooLarge,
    HostNotAllowed,
    InvalidId,
    InvalidRequest,
    JanError,
    NotFound,
    OriginNotAllowed,
    PreconditionFailed,
    ReadOnly,
    Unauthorized,
    UnsupportedMediaType,
)
from jan_server.web.api_key import OPEN_PATHS
from jan_server.web.conditions import PATTERN
from jan_server.web.ndjson import MEDIA_TYPE
from jan_server.web.paths import Pattern
from jan_server.web.routing import READING_METHODS, Route

Json = dict[str, Any]

_REF = "#/components/schemas/{name}"
_BODY_ERRORS = (InvalidRequest, BodyTimeout, BodyTooLarge, UnsupportedMediaType)
_CONDITIONS = {
    "If-Match": "ETags: only if the resource is as one of them says. `*`: only if there is one.",
    "If-None-Match": "ETags: only if the resource is as none of them says. `*`: if there is none.",
}
_ETAG = {"description": "Of the resource as it is now", "schema": {"type": "string"}}
_STALE = {
    "description": "The file is broken there; this is its last good version that was seen",
    "schema": {"type": "string"},
}
_STREAMS = {
    "text/event-stream": " A stream is events of `data: ` and this JSON.",
    MEDIA_TYPE: " A stream is lines of this JSON.",
}
_RETRY_AFTER = {"description": "Seconds to wait before asking again", "schema": {"type": "integer"}}


def document(
    routes: Sequence[Route[Any]],
    *,
    title: str,
    version: str,
    description: str,
    license: Mapping[str, str],
    servers: Sequence[str],
    tags: Mapping[str, str],
) -> Json:
    """OpenAPI 3.1 as JSON values.

    `license` has `name` and `identifier`; `servers` are URLs that end with the router's prefix
    (`/v1` is one, relative to the document); `tags` are names and descriptions, in reading order.
    """
    shown = [route for route in routes if route.documented]
    schemas = _Schemas(shown)
    paths: dict[str, Json] = {}
    for route in shown:
        item = paths.setdefault(Pattern(route.path).plain, {})
        item[route.method.lower()] = _operation(route, schemas)
        if route.at_root:
            item["servers"] = [{"url": "/"}]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": description,
            "license": dict(license),
        },
        "servers": [{"url": url} for url in servers],
        "tags": [{"name": name, "description": text} for name, text in tags.items()],
        "paths": paths,
        # Only where the user set a key, so nothing is also enough.
        "security": [{}, {"key": []}, {"x-api-key": []}],
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
    }


class _Schemas:
    """The schema of each type in the table; `components` are those that are referred to."""

    def __init__(self, routes: Sequence[Route[Any]]) -> None:
        forms = dict.fromkeys(route.error_form.type for route in routes)
        types = [*forms, *(type for route in routes for type in _types(route))]
        queries = [route.query for route in routes if route.query]
        schemas, components = msgspec.json.schema_components([*types, *queries], ref_template=_REF)
        self._of = dict(zip([*types, *queries], schemas, strict=True))
        names = {self._name(query) for query in queries}
        self._queries = {name: components[name] for name in names}
        self.components = {
            name: _tidied(schema)
            for name, schema in sorted(components.items())
            if name not in names
        }

    def of(self, type: Any) -> Json:
        """Of a type, or of a tuple of those that it is one of."""
        if isinstance(type, tuple):
            return {"anyOf": [self._of[one] for one in type]}
        return self._of[type]

    def parameters(self, query: Any) -> Iterator[tuple[str, bool, Json]]:
        """Name, whether required, and schema of each."""
        struct = self._queries[self._name(query)]
        for name, schema in struct.get("properties", {}).items():
            yield name, name in struct.get("required", ()), schema

    def _name(self, type: Any) -> str:
        ref: str = self._of[type]["$ref"]
        return ref.rpartition("/")[2]


def _tidied(schema: Json) -> Json:
    """Python keeps the indentation of docstrings before 3.13."""
    if "description" in schema:
        return {**schema, "description": inspect.cleandoc(schema["description"])}
    return schema


def _types(route: Route[Any]) -> Iterator[Any]:
    events = route.event if isinstance(route.event, tuple) else (route.event,)
    return (type for type in (route.request, route.response, *events) if type is not None)


def _operation(route: Route[Any], schemas: _Schemas) -> Json:
    operation: Json = {
        "operationId": route.operation_id,
        "tags": [route.tag],
        "summary": route.summary,
        **({"description": route.description} if route.description else {}),
        "parameters": [
            *_path_parameters(route),
            *_query_parameters(route, schemas),
            *_conditions(route),
        ],
        "responses": {
            "200": _success(route, schemas),
            **_unchanged(route),
            **_failures(route, schemas),
        },
    }
    if route.request is not None:
        operation["requestBody"] = {
            "required": route.request_required,
            "content": _content("application/json", schemas.of(route.request)),
        }
    return operation


def _content(media_type: str, schema: Json) -> Json:
    return {media_type: {"schema": schema}}


def _path_parameters(route: Route[Any]) -> Iterator[Json]:
    for name, may_hold_slash in Pattern(route.path).parameters.items():
        kind = name.removesuffix("_id")
        note = "; it may hold `/`" if may_hold_slash else ""
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": f"The id of the {kind}{note}.",
            "schema": {"type": "string"},
        }


def _query_parameters(route: Route[Any], schemas: _Schemas) -> Iterator[Json]:
    if route.query is None:
        return
    for name, required, schema in schemas.parameters(route.query):
        text = {"description": schema["description"]} if "description" in schema else {}
        yield {"name": name, "in": "query", "required": required, **text, "schema": schema}


def _has_etag(route: Route[Any]) -> bool:
    return PreconditionFailed in route.errors


def _conditions(route: Route[Any]) -> Iterator[Json]:
    for name, text in _CONDITIONS.items() if _has_etag(route) else ():
        yield {
            "name": name,
            "in": "header",
            "required": False,
            "description": text,
            "schema": {"type": "string", "pattern": PATTERN},
        }


def _etag_headers(route: Route[Any]) -> Json:
    """Of answers that show the resource."""
    if not _has_etag(route) or route.method == "DELETE":
        return {}
    return {"headers": {"ETag": _ETAG, "X-Jan-Stale": _STALE}}


def _unchanged(route: Route[Any]) -> Json:
    if not _has_etag(route) or route.method != "GET":
        return {}
    return {"304": {"description": "The client has it already.", **_etag_headers(route)}}


def _success(route: Route[Any], schemas: _Schemas) -> Json:
    content: Json = {}
    if route.response is not None:
        content |= _content("application/json", schemas.of(route.response))
    if route.event is not None:
        content |= _content(route.streams, schemas.of(route.event))
    streams = _STREAMS[route.streams] if route.event is not None else ""
    return {
        "description": f"Success.{streams}",
        **_etag_headers(route),
        **({"content": content} if content else {}),
    }


def _failures(route: Route[Any], schemas: _Schemas) -> Json:
    by_status: dict[int, list[type[JanError]]] = {}
    for error in dict.fromkeys([*route.errors, *_own_errors(route)]):
        by_status.setdefault(error.status, []).append(error)
    return {
        str(status): _failure(status, errors, route, schemas)
        for status, errors in sorted(by_status.items())
    }


def _own_errors(route: Route[Any]) -> Iterator[type[JanError]]:
    yield from (HostNotAllowed, JanError)
    if Pattern(route.path).text not in OPEN_PATHS:
        yield Unauthorized
    if Pattern(route.path).parameters:
        yield InvalidId
    if route.query is not None or _has_etag(route):
        yield InvalidRequest
    if route.request is not None:
        yield from _BODY_ERRORS
    if route.changes or route.method not in READING_METHODS:
        yield OriginNotAllowed
    if route.writes:
        yield ReadOnly


def _failure(
    status: int, errors: Sequence[type[JanError]], route: Route[Any], schemas: _Schemas
) -> Json:
    lines = sorted({line for error in errors for line in _lines(error, route)})
    retry = {"headers": {"Retry-After": _RETRY_AFTER}} if status in {429, 503} else {}
    return {
        "description": "\n".join(lines),
        **retry,
        "content": _content("application/json", schemas.of(route.error_form.type)),
    }


def _lines(error: type[JanError], route: Route[Any]) -> Iterator[str]:
    """The codes with their meanings. NotFound's say what kind: those in the path and the body."""
    if error is NotFound:
        kinds = [name.removesuffix("_id") for name in Pattern(route.path).parameters]
        kinds.extend(route.names)
        yield from (f"`{NotFound(kind, '').code}`: No {kind} has this id." for kind in kinds)
    elif error is JanError:
        yield f"`{error.code}`: The server failed; its log says where."
    else:
        meaning = inspect.cleandoc(error.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
        yield f"`{error.code}`: {meaning}".removesuffix(": ")
