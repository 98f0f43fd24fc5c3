"""One table of routes: what answers which path, and what the OpenAPI document says of it.

    Route("GET", "/threads/{thread_id}", get_thread, operation_id="getThread", tag="Threads", ...)
    async def get_thread(context: Services, request: Request) -> Response: ...
    Router(routes, context, prefix="/v1")

The most particular pattern that fits a path has it alone: `DELETE /models/x/start` is a 405 and
never a deletion of a model `x/start`. HEAD is answered by the GET, without the body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jan_server.errors import InvalidRequest, JanError, MethodNotAllowed, ReadOnly, RouteNotFound
from jan_server.web.errors import OUR_FORM, ErrorForm
from jan_server.web.paths import Pattern, decode_segment, fault, raw_path
from jan_server.web.requests import DEFAULT_BODY_LIMIT
from jan_server.web.responses import without_body
from jan_server.web.sockets import stay_silent

C = TypeVar("C")
Handler = Callable[[C, Request], Awaitable[Response]]

READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_FOUND = "jan_server.found"


@dataclass(frozen=True)
class Route(Generic[C]):
    """One row. `path` is below the router's prefix, unless `at_root`.

    `request`, `response`, `event` are types that msgspec can describe: the JSON body, the JSON
    answer, one event of a streamed answer, which is of the type `streams`; or a tuple of types that
    an event is one of. `query` is a Struct of the parameters.
    `changes` marks a GET that changes something; other methods do anyway, and a foreign page may
    not ask for it. `keeps_nothing` marks what changes no file of the user: a read-only server does
    it too.
    `errors` are those that are the operation's own; common ones are given to the document.
    `error_form` is the form of them all, of those too that are raised before the handler is called.
    `names` are the kinds of things that the body names, and that may be not found.
    """

    method: str
    path: str
    handler: Handler[C]
    _: KW_ONLY
    operation_id: str = ""
    tag: str = ""
    summary: str = ""
    description: str = ""
    request: Any = None
    request_required: bool = True
    response: Any = None
    event: Any = None
    streams: str = "text/event-stream"
    query: type[msgspec.Struct] | None = None
    errors: tuple[type[JanError], ...] = ()
    error_form: ErrorForm = OUR_FORM
    names: tuple[str, ...] = ()
    changes: bool = False
    keeps_nothing: bool = False
    at_root: bool = False
    documented: bool = True

    @property
    def writes(self) -> bool:
        """Whether it may change the user's files."""
        is_change = self.changes or self.method not in READING_METHODS
        return is_change and not self.keeps_nothing


class Place(Generic[C]):
    """One pattern with its rows by method."""

    def __init__(self, pattern: Pattern, rows: dict[str, Route[C]]) -> None:
        self.pattern = pattern
        self.rows = rows
        self.allowed = (*rows, *(["HEAD"] if "GET" in rows else []), "OPTIONS")
        self.changes = "GET" in rows and rows["GET"].changes
        self.error_form = next(iter(rows.values())).error_form


class Found(NamedTuple, Generic[C]):
    """`ids` are still encoded."""

    place: Place[C]
    ids: dict[str, str]


class Table(Generic[C]):
    """The places. Those without ids are found by their path, others by how many segments it has."""

    def __init__(self, routes: Sequence[Route[C]], prefix: str) -> None:
        places = _places(routes, prefix)
        self._exact = {p.pattern.text.rstrip("/"): Found(p, {}) for p in places if p.pattern.fixed}
        self._with_ids = [place for place in places if not place.pattern.fixed]
        self._forms = _common_forms(places)
        longest = max((place.pattern.slashes for place in self._with_ids), default=0)
        self._by_slashes = [self._that_may_have(slashes) for slashes in range(longest + 1)]

    def find(self, path: str) -> Found[C] | None:
        """The most particular place that fits a path of `raw_path`."""
        if path in self._exact:
            return self._exact[path]
        # Longer than all patterns: as the longest, where an id of several segments may fit.
        slashes = min(path.count("/"), len(self._by_slashes) - 1)
        for place in self._by_slashes[slashes]:
            if (ids := place.pattern.match(path)) is not None:
                return Found(place, ids)
        return None

    def form_beside(self, path: str) -> ErrorForm:
        """Of errors where no place is: that of all its neighbours, if they share one."""
        return self._forms.get(_first(path), OUR_FORM)

    def _that_may_have(self, slashes: int) -> list[Place[C]]:
        return [place for place in self._with_ids if place.pattern.may_have(slashes)]


def _places(routes: Sequence[Route[C]], prefix: str) -> list[Place[C]]:
    """The most particular first."""
    table: dict[Pattern, dict[str, Route[C]]] = {}
    for route in routes:
        pattern = Pattern(route.path if route.at_root else prefix + route.path)
        rows = table.setdefault(pattern, {})
        if route.method in rows:
            raise ValueError(f"two routes for {route.method} {pattern.text}")
        rows[route.method] = route
    return [Place(*item) for item in sorted(table.items(), key=lambda item: item[0].rank)]


def _common_forms(places: Sequence[Place[C]]) -> dict[str, ErrorForm]:
    """By the first segment of paths, where all that begin with it have the same."""
    forms: dict[str, set[ErrorForm]] = {}
    for place in places:
        forms.setdefault(_first(place.pattern.text), set()).add(place.error_form)
    return {segment: of_all.pop() for segment, of_all in forms.items() if len(of_all) == 1}


def _first(path: str) -> str:
    return path.removeprefix("/").partition("/")[0]


class Router(Generic[C]):
    """An ASGI application for HTTP. Raises JanErrors; `Errors` around it answers them.

    Handlers find the decoded ids in `request.path_params`, all of them strings that are single
    path components (those marked `:path`: several, joined by `/`).
    `body_limit` is what `read_json` reads at most. Setting `closing` ends open event streams.
    A `read_only` one refuses the rows that write, before it reads their bodies. WebSockets are
    closed, but for those at `silent_sockets` (whole paths), which stay open and say nothing.
    """

    def __init__(
        self,
        routes: Sequence[Route[C]],
        context: C,
        *,
        prefix: str = "",
        body_limit: int = DEFAULT_BODY_LIMIT,
        closing: asyncio.Event | None = None,
        read_only: bool = False,
        silent_sockets: Collection[str] = (),
    ) -> None:
        self._context = context
        self._prefix = prefix
        self._read_only = read_only
        self._silent_sockets = frozenset(silent_sockets)
        self._closing = closing or asyncio.Event()
        self._state = {"body_limit": body_limit, "closing": self._closing}
        self._table = Table(routes, prefix)

    def changes(self, scope: Scope) -> bool:
        """Whether this request would change something: any but a reading method, a marked GET."""
        if scope["method"] != "GET":
            return scope["method"] not in READING_METHODS
        found = self._find(scope)
        return found is not None and found.place.changes

    def error_form(self, scope: Scope) -> ErrorForm:
        """How this request's errors are told: all methods of a path do it in the same way."""
        found = self._find(scope)
        return found.place.error_form if found else self._table.form_beside(raw_path(scope))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._meet_socket(scope, receive, send)
            return
        scope.setdefault("state", {}).update(self._state)
        response = await self._answer(scope, receive)
        to = without_body(send) if scope["method"] == "HEAD" else send
        await response(scope, receive, to)

    async def _meet_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if raw_path(scope) in self._silent_sockets:
            await stay_silent(receive, send, closing=self._closing)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        method, found = scope["method"], self._find(scope)
        if found is None:
            raise self._nothing_at(raw_path(scope))
        place = found.place
        if method not in place.allowed:
            raise MethodNotAllowed(method, place.allowed)
        if method == "OPTIONS":
            return Response(status_code=204, headers={"allow": ", ".join(place.allowed)})
        row = place.rows["GET" if method == "HEAD" else method]
        scope["path_params"] = place.pattern.decode(found.ids)
        if method == "HEAD" and row.changes:
            return Response(status_code=204)  # A HEAD never starts anything.
        if self._read_only and row.writes:
            raise ReadOnly
        return await row.handler(self._context, Request(scope, receive))

    def _find(self, scope: Scope) -> Found[C] | None:
        """Once for a request: the guard asks first whether it changes something."""
        if _FOUND not in scope:
            scope[_FOUND] = self._table.find(raw_path(scope))
        found: Found[C] | None = scope[_FOUND]
        return found

    def _nothing_at(self, path: str) -> JanError:
        shown = path[:200] or "/"
        if self._table.find(self._prefix + path):
            better = f"{self._prefix}{shown}"
            return RouteNotFound(f"Nothing is at {shown}: the API is under {better}.")
        if path and (reason := _fault_of(path)):
            return InvalidRequest(f"The path {shown!r} cannot be right: {reason}.")
        return RouteNotFound(f"Nothing is at {shown}.")


def _fault_of(path: str) -> str | None:
    try:
        segments = map(decode_segment, path.removeprefix("/").split("/"))
        return next(filter(None, map(fault, segments)), None)
    except UnicodeDecodeError:
        return "it is not UTF-8"
