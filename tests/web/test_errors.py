"""Errors become answers that both kinds of client understand."""

import asyncio
import logging

import msgspec
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jan_server.errors import EngineDied, FileBroken, InvalidRequest, JanError, MethodNotAllowed
from jan_server.web.errors import ErrorForm, Errors
from jan_server.web.responses import json_response
from jan_server.web.routing import Route, Router
from jan_server.web.stack import stack
from tests.web.asgi import ask, ask_async, scope_of


def failing(error: Exception) -> Errors:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    return Errors(app)


def test_the_body_holds_openais_error_and_jans_message() -> None:
    answer = ask(failing(InvalidRequest("role is missing", param="$.role")), "POST", "/")
    detail = {
        "message": "role is missing",
        "type": "invalid_request_error",
        "param": "$.role",
        "code": "invalid_request",
    }
    assert answer.status == 400
    assert answer.json() == {"error": detail, "message": "role is missing"}


class Plain(msgspec.Struct):
    error: str


PLAIN = ErrorForm(Plain, lambda error: Plain(error.message))


async def refuse(context: None, request: Request) -> Response:
    raise InvalidRequest("no")


def test_an_api_with_errors_of_another_form_has_them_whoever_raises_them() -> None:
    rows = [
        Route("POST", "/other", refuse, error_form=PLAIN),
        Route("POST", "/other/more", refuse, error_form=PLAIN),
        Route("POST", "/ours", refuse),
        Route("POST", "/ours/too", refuse, error_form=PLAIN),
    ]
    app = stack(Router(rows, None), api_key="k")
    keyed = {"x-api-key": "k"}
    assert ask(app, "POST", "/other", headers=keyed).json() == {"error": "no"}
    assert ask(app, "GET", "/other", headers=keyed).json() == {
        "error": "GET is not possible here; POST, OPTIONS is."
    }
    refused = ask(app, "POST", "/other")
    assert (refused.status, list(refused.json())) == (401, ["error"])
    assert ask(app, "POST", "/ours", headers=keyed).json()["message"] == "no"
    for nowhere in ("/nowhere", "/ours/nowhere"):
        told = ask(app, "POST", nowhere, headers=keyed).json()
        assert told["error"]["code"] == "route_not_found"
    assert ask(app, "POST", "/other/nowhere", headers=keyed).json() == {
        "error": "Nothing is at /other/nowhere."
    }


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (InvalidRequest("no"), 400, {"x-should-retry": "false"}),
        (FileBroken("f", "r"), 409, {"x-should-retry": "false"}),
        (EngineDied("gone"), 503, {"retry-after": "1"}),
        (EngineDied("gone", retry_after=7), 503, {"retry-after": "7"}),
        (
            MethodNotAllowed("PUT", ("GET", "POST")),
            405,
            {"x-should-retry": "false", "allow": "GET, POST"},
        ),
        (HTTPException(429, "slow down"), 429, {"retry-after": "1"}),
    ],
)
def test_headers_tell_clients_whether_to_ask_again(
    error: Exception, status: int, headers: dict[str, str]
) -> None:
    answer = ask(failing(error), "GET", "/")
    shown = {
        k: v for k, v in answer.headers.items() if k in {"x-should-retry", "retry-after", "allow"}
    }
    assert (answer.status, shown) == (status, headers)


@pytest.mark.parametrize(
    ("error", "type", "code"),
    [
        (HTTPException(404), "invalid_request_error", "route_not_found"),
        (HTTPException(418, "teapot"), "invalid_request_error", "invalid_request"),
        (HTTPException(501), "server_error", "internal_error"),
    ],
)
def test_starlettes_errors_are_told_in_the_same_words(
    error: HTTPException, type: str, code: str
) -> None:
    answer = ask(failing(error), "GET", "/")
    detail = {"message": error.detail, "type": type, "param": None, "code": code}
    assert (answer.status, answer.json()["error"]) == (error.status_code, detail)


def test_an_unexpected_error_is_a_500_whose_log_has_the_place_and_no_prompt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    prompt = "tell me a secret".upper()

    async def reads_the_prompt(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            int(prompt)
        except ValueError as error:
            raise KeyError(prompt) from error

    caplog.set_level(logging.INFO)
    answer = ask(Errors(reads_the_prompt), "POST", "/")
    id = answer.headers["x-request-id"]
    message = f"The server failed at this; its log says where, under {id}."
    assert (answer.status, answer.json()["message"]) == (500, message)
    assert id in caplog.text
    assert "in reads_the_prompt" in caplog.text
    assert "builtins.ValueError\nwhich led to:" in caplog.text
    assert prompt not in caplog.text


def test_the_text_of_an_unexpected_error_is_logged_when_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    ask(failing(KeyError("my secret prompt")), "POST", "/")
    assert "my secret prompt" in caplog.text


def test_a_fault_of_the_server_that_has_a_name_is_logged_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = ask(failing(JanError("disk on fire")), "GET", "/")
    id = answer.headers["x-request-id"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{id}: internal_error: disk on fire"
    ]


@pytest.mark.parametrize("sent", ["abc-1.2_Z", "r" * 64])
def test_a_sane_request_id_is_kept(sent: str) -> None:
    answer = ask(Errors(json_response({})), "GET", "/", headers={"x-request-id": sent})
    assert answer.headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "a b", "r" * 65, "a\nb", "ü"])
def test_any_other_request_id_is_replaced(sent: str) -> None:
    answer = ask(Errors(json_response({})), "GET", "/", headers={"x-request-id": sent})
    assert answer.headers["x-request-id"].startswith("req_")


def test_an_answer_that_is_kept_and_sent_again_collects_nothing() -> None:
    kept = json_response({})
    answers = [ask(Errors(kept), "GET", "/", headers={"x-request-id": id}) for id in ("a", "b")]
    assert [answer.headers["x-request-id"] for answer in answers] == ["a", "b"]
    assert [name for name, _ in kept.raw_headers] == [b"content-length", b"content-type"]


def test_handlers_know_the_request_id() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await json_response(scope["state"]["request_id"])(scope, receive, send)

    answer = ask(Errors(app), "GET", "/")
    assert answer.json() == answer.headers["x-request-id"]


def test_an_error_to_a_head_has_no_body() -> None:
    answer = ask(failing(InvalidRequest("no")), "HEAD", "/")
    assert (answer.status, answer.body) == (400, b"")
    assert int(answer.headers["content-length"]) > 0


def test_a_client_that_left_is_not_answered() -> None:
    answer = ask(failing(ClientDisconnect()), "POST", "/")
    assert answer.status == 0


def test_an_error_after_the_answer_has_begun_breaks_it_off() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise InvalidRequest("too late")

    with pytest.raises(InvalidRequest, match="too late"):
        ask(Errors(app), "GET", "/")


def test_what_is_not_http_passes() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    asyncio.run(ask_async(Errors(app), scope_of("", "/", kind="lifespan"), []))
    assert seen == ["lifespan"]
