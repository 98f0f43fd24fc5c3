"""Who may call: host names, origins, and what browsers are told."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from jan_server.errors import EngineDied
from jan_server.web.responses import json_response
from jan_server.web.routing import Route, Router
from jan_server.web.stack import stack
from tests.web.asgi import Answer, Headers, ask, scope_of


async def fine(context: None, request: Request) -> Response:
    return json_response({}, headers={"vary": "OpenAI-Beta"})


async def both(context: None, request: Request) -> Response:
    return json_response({}, headers={"vary": "OpenAI-Beta, Origin"})


async def failing(context: None, request: Request) -> Response:
    raise EngineDied("gone")


ROUTER = Router(
    [
        Route("GET", "/threads", fine),
        Route("POST", "/threads", fine),
        Route("DELETE", "/threads", failing),
        Route("GET", "/models/download/{model_id:path}", fine, changes=True),
        Route("GET", "/both", both),
    ],
    None,
)
APP = stack(
    ROUTER, allowed_hosts=["Box.local", "10.1.1.1"], allowed_origins=["https://mine.example"]
)


def code(answer: Answer) -> str | int:
    return answer.status if answer.status < 400 else answer.json()["error"]["code"]


LAN = ("192.168.1.5", 1337)


@pytest.mark.parametrize(
    ("host", "server"),
    [
        ("localhost", LAN),
        ("LOCALHOST:1", LAN),
        ("localhost.:1337", LAN),
        ("127.0.0.1", LAN),
        ("127.8.9.1:80", LAN),
        ("[::1]", LAN),
        ("[::1]:1337", LAN),
        ("[::ffff:127.0.0.1]", LAN),
        ("192.168.1.5:1337", LAN),
        ("192.168.1.5", ("::ffff:192.168.1.5", 1337)),
        ("[fe80::1%eth0]:1337", ("fe80::1%eth0", 1337)),
        ("[fe80::1]:1337", ("fe80::1%eth0", 1337)),
        ("host.docker.internal:1337", LAN),
        ("box.LOCAL:99", LAN),
        ("10.1.1.1", LAN),
        ("localhost:", None),
    ],
)
def test_names_that_cannot_be_rebound_are_answered(host: str, server: Any) -> None:
    assert code(ask(APP, "GET", "/threads", headers={"host": host}, server=server)) == 200


@pytest.mark.parametrize(
    ("host", "server"),
    [
        ("evil.example", LAN),
        ("evil.example:1337", ("evil.example", 1337)),
        ("localhost.evil.example", LAN),
        ("127.0.0.1.evil.example", LAN),
        ("192.168.1.6", LAN),
        ("0.0.0.0:1337", LAN),
        ("2130706433", LAN),
        ("127.1", LAN),
        ("[::2]", LAN),
        ("192.168.1.5", None),
        ("192.168.1.5", ("/run/socket", None)),
    ],
)
def test_any_other_name_is_a_403(host: str, server: Any) -> None:
    for method in ("GET", "OPTIONS", "POST"):
        answer = ask(APP, method, "/threads", headers={"host": host}, server=server)
        assert (answer.status, code(answer)) == (403, "host_not_allowed")


@pytest.mark.parametrize(
    "headers",
    [
        [("host", "")],
        [("host", "a b")],
        [("host", "http://localhost")],
        [("host", "localhost:port")],
        [("host", "me@localhost")],
        [("host", "[::1")],
        [("host", "::1")],
        [("host", "localhost"), ("host", "localhost")],
    ],
)
def test_a_garbled_host_is_a_400(headers: Headers) -> None:
    answer = ask(APP, "GET", "/threads", headers=headers)
    assert (answer.status, code(answer)) == (400, "invalid_request")


def test_a_missing_host_is_a_400() -> None:
    scope = scope_of("GET", "/threads")
    scope["headers"] = []
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    asyncio.run(APP(scope, receive, send))
    assert sent[0]["status"] == 400


ALLOWED_ORIGINS = [
    "http://localhost",
    "https://localhost:3000",
    "http://127.0.0.1:5173",
    "http://127.255.1.2",
    "http://[::1]:80",
    "tauri://localhost",
    "http://tauri.localhost",
    "https://tauri.localhost",
    "app://obsidian.md",
    "vscode-webview://0f1e",
    "https://mine.example",
]
FOREIGN_ORIGINS = [
    "null",
    "",
    "https://evil.example",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example",
    "http://localhost:3000@evil.example",
    "https://mine.example:8443",
    "https://mine.example.evil.example",
    "ftp://localhost",
    "app://x/y",
    "app://x, evil",
    "http://192.168.1.5:80",
]


@pytest.mark.parametrize("origin", ALLOWED_ORIGINS)
def test_pages_of_allowed_origins_may_do_everything(origin: str) -> None:
    for method in ("GET", "POST"):
        answer = ask(APP, method, "/threads", headers={"origin": origin})
        cors = {k: v for k, v in answer.headers.items() if "access" in k or k == "vary"}
        assert (answer.status, cors) == (
            200,
            {
                "access-control-allow-origin": origin,
                "access-control-expose-headers": "ETag, Retry-After, x-request-id, X-Jan-Stale",
                "vary": "OpenAI-Beta, Origin",
            },
        )


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_pages_of_other_origins_change_nothing_and_read_nothing(origin: str) -> None:
    answers = [
        ask(APP, *asked.split(), headers={"origin": origin}, server=LAN)
        for asked in ("GET /threads", "POST /threads", "PUT /nothing", "GET /models/download/m")
    ]
    refused = "origin_not_allowed"
    assert [code(answer) for answer in answers] == [200, refused, refused, refused]
    assert not any("access-control-allow-origin" in answer.headers for answer in answers)


def test_null_is_never_an_origin_that_is_allowed() -> None:
    """Any page can make itself one."""
    app = stack(ROUTER, allowed_origins=["null"])
    answer = ask(app, "POST", "/threads", headers={"origin": "null"})
    assert code(answer) == "origin_not_allowed"


def test_an_allowed_origin_lets_no_second_one_in() -> None:
    twice = [("origin", "app://x"), ("origin", "null")]
    assert code(ask(APP, "POST", "/threads", headers=twice)) == "origin_not_allowed"


def test_names_are_judged_for_the_address_that_each_connection_came_in_at() -> None:
    headers = {"host": "192.168.1.5"}
    servers = [LAN, ("192.168.1.6", 1337), LAN]
    answers = [ask(APP, "GET", "/threads", headers=headers, server=server) for server in servers]
    assert [answer.status for answer in answers] == [200, 403, 200]


def test_our_own_page_may_do_everything_under_any_allowed_name() -> None:
    headers = {"host": "192.168.1.5:1337", "origin": "http://192.168.1.5:1337"}
    assert code(ask(APP, "POST", "/threads", headers=headers, server=LAN)) == 200


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "cross-site"}, "origin_not_allowed"),
        ({"sec-fetch-site": "cross-site", "origin": "app://obsidian.md"}, 200),
        ({"sec-purpose": "prefetch;prerender"}, "forbidden"),
        ({"purpose": "Prefetch"}, "forbidden"),
        ({"x-moz": "prefetch"}, "forbidden"),
    ],
)
def test_a_link_that_changes_something_is_followed_only_on_purpose(
    headers: dict[str, str], expected: str | int
) -> None:
    assert code(ask(APP, "GET", "/models/download/m", headers=headers)) == expected
    assert code(ask(APP, "POST", "/threads", headers=headers)) == expected
    assert code(ask(APP, "GET", "/threads", headers=headers)) == 200


def test_a_preflight_of_an_allowed_origin_is_granted_what_it_asks_for() -> None:
    asked = {
        "origin": "http://localhost:3000",
        "access-control-request-method": "PATCH",
        "access-control-request-headers": "authorization, x-stainless-os",
        "access-control-request-private-network": "true",
    }
    answer = ask(APP, "OPTIONS", "/nothing", headers=asked)
    for ours in ("x-request-id", "openai-processing-ms"):
        answer.headers.pop(ours)
    assert (answer.status, answer.body, answer.headers) == (
        204,
        b"",
        {
            "access-control-allow-origin": "http://localhost:3000",
            "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
            "access-control-allow-headers": "authorization, x-stainless-os",
            "access-control-allow-private-network": "true",
            "access-control-expose-headers": "ETag, Retry-After, x-request-id, X-Jan-Stale",
            "access-control-max-age": "600",
            "vary": "Origin",
        },
    )


def test_a_preflight_grants_no_more_than_it_is_asked_for() -> None:
    asked = {"origin": "http://localhost", "access-control-request-method": "GET"}
    answer = ask(APP, "OPTIONS", "/threads", headers=asked)
    assert "access-control-allow-headers" not in answer.headers
    assert "access-control-allow-private-network" not in answer.headers


@pytest.mark.parametrize(
    "headers", [{"access-control-request-method": "GET"}, {"origin": "http://localhost"}]
)
def test_what_no_page_asks_before_its_request_is_answered_by_the_router(
    headers: dict[str, str],
) -> None:
    answer = ask(APP, "OPTIONS", "/threads", headers=headers)
    assert (answer.status, "allow" in answer.headers) == (204, True)
    assert "access-control-allow-methods" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost", "host": "evil.example"},
    ],
)
def test_any_other_preflight_is_a_403(headers: dict[str, str]) -> None:
    asked = {**headers, "access-control-request-method": "GET"}
    assert ask(APP, "OPTIONS", "/threads", headers=asked).status == 403


@pytest.mark.parametrize(
    ("asked", "headers", "status"),
    [
        ("GET /nothing", {}, 404),
        ("DELETE /threads", {}, 503),
        ("GET /threads", {"host": "evil.example"}, 403),
    ],
)
def test_errors_can_be_read_by_allowed_pages(
    asked: str, headers: dict[str, str], status: int
) -> None:
    answer = ask(APP, *asked.split(), headers={**headers, "origin": "http://localhost"})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (
        status,
        "http://localhost",
    )
    assert "x-request-id" in answer.headers


def test_vary_names_the_origin_once_and_always() -> None:
    assert ask(APP, "GET", "/both").headers["vary"] == "OpenAI-Beta, Origin"
    assert ask(APP, "GET", "/nothing").headers["vary"] == "Origin"


def test_vary_names_what_every_answer_depends_on_and_what_one_does() -> None:
    app = stack(ROUTER, vary=["Accept", "OpenAI-Beta"])
    assert ask(app, "GET", "/nothing").headers["vary"] == "Accept, OpenAI-Beta, Origin"
    assert ask(app, "GET", "/threads").headers["vary"] == "OpenAI-Beta, Accept, Origin"


@pytest.mark.parametrize(
    ("headers", "closing"),
    [
        ({}, 1000),
        ({"origin": "http://localhost"}, 1000),
        ({"origin": "https://evil.example"}, 1008),
        ({"host": "evil.example"}, 1008),
    ],
    ids=["reaches the router", "allowed page", "foreign page", "foreign name"],
)
def test_websockets_pass_the_same_guard(headers: dict[str, str], closing: int) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    asyncio.run(APP(scope_of("GET", "/x", headers=headers, kind="websocket"), receive, send))
    assert sent == [{"type": "websocket.close", "code": closing}]
