from __future__ import annotations

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from jan_server.web.responses import json_response
from jan_server.web.routing import Route, Router
from jan_server.web.stack import stack


async def answer(_context, _request):
    return json_response({"ok": True})


ROUTES = [
    Route("GET", "/threads", answer),
    Route("GET", "/healthz", answer, at_root=True),
    Route("GET", "/openapi.json", answer, at_root=True),
    Route("GET", "/", answer, at_root=True),
]


@pytest.fixture
def client():
    app = stack(Router(ROUTES, None, prefix="/v1"), api_key="schlüssel")
    return TestClient(app, base_url="http://localhost")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer schlüssel".encode()},
        {"Authorization": "bearer schlüssel".encode()},
        {"Authorization": "Bearer  schlüssel".encode()},
        {"X-Api-Key": "schlüssel".encode()},
    ],
)
def test_the_key_opens(client, headers):
    assert client.get("/v1/threads", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer other"}, {"Authorization": "Basic eDp5"}, {"X-Api-Key": ""}],
)
def test_without_the_key_it_is_a_401(client, headers):
    refused = client.get("/v1/threads", headers=headers)
    is_told = "another one than you sent" in refused.json()["message"]
    assert is_told == ("Bearer other" in headers.values())
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert refused.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/", "/healthz", "/openapi.json"])
def test_what_tells_nothing_needs_no_key(client, path):
    assert client.get(path).status_code == 200


def test_a_preflight_needs_no_key(client):
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    assert client.options("/v1/threads", headers=headers).status_code < 300


@pytest.mark.parametrize(
    ("headers", "closing"), [({}, 1008), ({"X-Api-Key": "schlüssel".encode()}, 1000)]
)
def test_a_websocket_needs_the_key_too(client, headers, closing):
    # With the key it reaches the router, which has none here.
    asked = client.websocket_connect("ws://localhost/v1/events", headers=headers)
    with pytest.raises(WebSocketDisconnect) as closed, asked:
        pass
    assert closed.value.code == closing
