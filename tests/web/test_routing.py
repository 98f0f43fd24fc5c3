"""Which handler answers which raw path, and with which ids."""

import pytest
from starlette.requests import Request
from starlette.responses import Response

from jan_server.web.errors import Errors
from jan_server.web.responses import json_bytes_response, json_response
from jan_server.web.routing import Route, Router
from tests.web.asgi import Answer, ask


def route(method: str, path: str, **options: bool) -> Route[str]:
    async def handler(context: str, request: Request) -> Response:
        return json_response([f"{method} {path}", dict(request.path_params)])

    return Route(method, path, handler, **options)


ROUTES = [
    route("GET", "/threads"),
    route("POST", "/threads"),
    route("GET", "/threads/{thread_id}"),
    route("DELETE", "/threads/{thread_id}"),
    route("GET", "/threads/{thread_id}/messages/{message_id}"),
    route("GET", "/models/{model_id:path}"),
    route("DELETE", "/models/{model_id:path}"),
    route("POST", "/models/{model_id:path}/start"),
    route("GET", "/models/download/{model_id:path}", changes=True),
    route("POST", "/models/download/{model_id:path}"),
    route("GET", "/healthz", at_root=True),
    route("GET", "/", at_root=True),
]
ROUTER = Router(ROUTES, "context", prefix="/v1")
APP = Errors(ROUTER)


def error_of(answer: Answer) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status, error["code"], error["param"]


@pytest.mark.parametrize(
    ("asked", "row", "ids"),
    [
        ("GET /v1/threads", "GET /threads", {}),
        ("GET /v1/threads/", "GET /threads", {}),
        ("GET /v1/threads?limit=1", "GET /threads", {}),
        ("POST /v1/threads", "POST /threads", {}),
        (
            "GET /v1/threads/jan_1%20(copy)",
            "GET /threads/{thread_id}",
            {"thread_id": "jan_1 (copy)"},
        ),
        ("GET /v1/threads/%C3%9Cbersicht/", "GET /threads/{thread_id}", {"thread_id": "Übersicht"}),
        (
            "GET /v1/threads/\xc3\x9cbersicht",
            "GET /threads/{thread_id}",
            {"thread_id": "Übersicht"},
        ),
        ("GET /v1/threads/100%", "GET /threads/{thread_id}", {"thread_id": "100%"}),
        ("GET /v1/threads/a%252Fb", "GET /threads/{thread_id}", {"thread_id": "a%2Fb"}),
        (
            "GET /v1/threads/t/messages/m",
            "GET /threads/{thread_id}/messages/{message_id}",
            {"thread_id": "t", "message_id": "m"},
        ),
        ("GET /v1/models/a/b", "GET /models/{model_id:path}", {"model_id": "a/b"}),
        ("GET /v1/models/a%2Fb/c", "GET /models/{model_id:path}", {"model_id": "a/b/c"}),
        ("POST /v1/models/a%2fb/start", "POST /models/{model_id:path}/start", {"model_id": "a/b"}),
        ("POST /v1/models/a/b/start", "POST /models/{model_id:path}/start", {"model_id": "a/b"}),
        (
            "GET /v1/models/download/org/name",
            "GET /models/download/{model_id:path}",
            {"model_id": "org/name"},
        ),
        ("GET /v1/models/downloads", "GET /models/{model_id:path}", {"model_id": "downloads"}),
        ("GET /healthz", "GET /healthz", {}),
        ("GET /", "GET /", {}),
    ],
)
def test_a_path_reaches_its_row_with_decoded_ids(asked: str, row: str, ids: dict[str, str]) -> None:
    method, target = asked.split(" ", 1)
    answer = ask(APP, method, target)
    assert (answer.status, answer.json()) == (200, [row, ids])


@pytest.mark.parametrize(
    ("target", "param"),
    [
        ("/v1/threads//", "thread_id"),
        ("/v1/threads/..", "thread_id"),
        ("/v1/threads/.", "thread_id"),
        ("/v1/threads/%2e%2E", "thread_id"),
        ("/v1/threads/..%2fescape", "thread_id"),
        ("/v1/threads/a%2Fb", "thread_id"),
        ("/v1/threads/a%00b", "thread_id"),
        ("/v1/threads/a%0Ab", "thread_id"),
        ("/v1/threads/a%C2%85b", "thread_id"),
        ("/v1/threads/%FF", "thread_id"),
        ("/v1/threads/\xff", "thread_id"),
        ("/v1/threads//messages/m", "thread_id"),
        ("/v1/threads/t/messages/..", "message_id"),
        ("/v1/models//", "model_id"),
        ("/v1/models/a//b", "model_id"),
        ("/v1/models/a%2F", "model_id"),
        ("/v1/models/../../etc/passwd", "model_id"),
        ("/v1/models/a%2F..%2Fb", "model_id"),
        ("/v1/models/a/%00", "model_id"),
    ],
)
def test_what_can_never_be_an_id_is_a_400_that_names_it(target: str, param: str) -> None:
    assert error_of(ask(APP, "GET", target)) == (400, "invalid_id", param)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("//", "it is empty, or a part of it is"),
        ("/v1//threads", "it is empty, or a part of it is"),
        ("/v1/threads/../evil", "a part of it is '.' or '..'"),
        ("/v1/../etc", "a part of it is '.' or '..'"),
        ("/nothing/a%2Fb", "it holds a '/'"),
        ("/nothing/%00", "it holds control characters"),
        ("/nothing/%FF", "it is not UTF-8"),
    ],
)
def test_a_path_that_cannot_be_right_is_a_400_also_where_nothing_is(
    target: str, reason: str
) -> None:
    answer = ask(APP, "GET", target)
    shown = target.removesuffix("/")
    assert (answer.status, answer.json()["message"]) == (
        400,
        f"The path {shown!r} cannot be right: {reason}.",
    )


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/v1/nothing", "Nothing is at /v1/nothing."),
        ("/v1", "Nothing is at /v1."),
        ("/v1/healthz", "Nothing is at /v1/healthz."),
        ("/v1/threads/t/messages/m/x", "Nothing is at /v1/threads/t/messages/m/x."),
        ("/threads", "Nothing is at /threads: the API is under /v1/threads."),
        ("/models/a%2Fb", "Nothing is at /models/a%2Fb: the API is under /v1/models/a%2Fb."),
    ],
)
def test_an_unknown_path_is_a_404_that_says_where_the_api_is(target: str, message: str) -> None:
    answer = ask(APP, "GET", target)
    assert error_of(answer) == (404, "route_not_found", None)
    assert answer.json()["message"] == message


@pytest.mark.parametrize(
    ("asked", "allow"),
    [
        ("PATCH /v1/threads", "GET, POST, HEAD, OPTIONS"),
        ("POST /v1/threads/t", "GET, DELETE, HEAD, OPTIONS"),
        ("HEAD /v1/models/a/start", "POST, OPTIONS"),
        ("DELETE /v1/models/a/start", "POST, OPTIONS"),
        ("DELETE /v1/models/download/a", "GET, POST, HEAD, OPTIONS"),
    ],
)
def test_a_wrong_method_is_a_405_that_says_which_are_right(asked: str, allow: str) -> None:
    answer = ask(APP, *asked.split())
    assert (answer.status, answer.headers["allow"]) == (405, allow)


def test_head_has_the_headers_of_get_and_no_body() -> None:
    got, head = (ask(APP, method, "/v1/threads/t") for method in ("GET", "HEAD"))
    got.headers.pop("x-request-id")
    head.headers.pop("x-request-id")
    assert (head.status, head.headers, head.body) == (200, got.headers, b"")


def test_head_never_starts_what_a_get_would_start() -> None:
    answer = ask(APP, "HEAD", "/v1/models/download/m")
    assert (answer.status, answer.body) == (204, b"")


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("GET /threads", 200),
        ("POST /threads", 403),
        ("DELETE /threads/t", 403),
        ("GET /models/download/m", 403),
        ("HEAD /models/download/m", 204),
        ("POST /models/m/start", 200),
    ],
)
def test_a_read_only_router_refuses_the_rows_that_write(asked: str, status: int) -> None:
    kept = route("POST", "/models/{model_id:path}/start", keeps_nothing=True)
    others = [row for row in ROUTES if row.path != kept.path]
    answer = ask(Errors(Router([*others, kept], "context", read_only=True)), *asked.split())
    assert answer.status == status
    if status == 403:
        assert error_of(answer) == (403, "read_only", None)


def test_options_without_an_origin_tells_the_methods() -> None:
    answer = ask(APP, "OPTIONS", "/v1/threads/t")
    assert (answer.status, answer.headers["allow"]) == (204, "GET, DELETE, HEAD, OPTIONS")


@pytest.mark.parametrize(
    ("asked", "changes"),
    [
        ("GET /v1/threads", False),
        ("HEAD /v1/models/download/m", False),
        ("OPTIONS /v1/threads", False),
        ("GET /nothing", False),
        ("POST /nothing", True),
        ("DELETE /v1/threads/t", True),
        ("GET /v1/models/download/m", True),
    ],
)
def test_the_table_knows_what_changes_something(asked: str, changes: bool) -> None:
    method, path = asked.split()
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode()}
    assert ROUTER.changes(scope) is changes


def test_a_server_without_raw_paths_is_served_from_the_decoded_one() -> None:
    scope = {"type": "http", "method": "GET", "path": "/v1/models/download/ü"}
    assert ROUTER.changes(scope)


def test_a_table_without_ids_knows_its_paths_only() -> None:
    app = Errors(Router([route("GET", "/a/b")], None))
    assert [ask(app, "GET", path).status for path in ("/a/b", "/a/b/", "/a", "/a/b/c")] == [
        200,
        200,
        404,
        404,
    ]


def test_two_rows_for_one_operation_are_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"two routes for GET /a/\{b\}"):
        Router([route("GET", "/a/{b}"), route("GET", "/a/{b}")], None)


def test_bytes_that_are_json_are_answered_as_they_are() -> None:
    answer = json_bytes_response(b'{"a" : 1}', status=201, headers={"etag": '"x"'})
    assert (answer.status_code, answer.body) == (201, b'{"a" : 1}')
    assert (answer.headers["etag"], answer.media_type) == ('"x"', "application/json")
