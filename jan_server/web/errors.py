"""Errors -> HTTP, and the id of every request: the only translator.

The body satisfies OpenAI's clients (`error`) and Jan-shaped ones (`message`). What is not a
JanError is our own fault: a 500 with the request's id, under which the log has the reason. Logs
hold no prompts, and an exception's text can quote one, so that text is logged at DEBUG only.
"""

from __future__ import annotations

import logging
import re
import secrets

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jan_server.errors import JanError, MethodNotAllowed, Unauthorized
from jan_server.logs import frames
from jan_server.web.requests import RestOfBody
from jan_server.web.responses import json_response, without_body

logger = logging.getLogger(__name__)

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_WORTH_A_RETRY = {429, 503}
_HTTP_CODES = {401: "unauthorized", 404: "route_not_found", 405: "method_not_allowed"}


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's error. `param` names the offending field, `code` is for programs."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What every error is answered with; the message twice, once for Jan-shaped clients."""

    error: ErrorDetail
    message: str


def error_body(error: JanError) -> ErrorBody:
    detail = ErrorDetail(message=error.message, type=error.type, param=error.param, code=error.code)
    return ErrorBody(error=detail, message=error.message)


def error_response(error: JanError) -> Response:
    return json_response(error_body(error), status=error.status, headers=_error_headers(error))


def _error_headers(error: JanError) -> dict[str, str]:
    headers = {}
    if error.status in _WORTH_A_RETRY:
        headers["retry-after"] = str(error.retry_after or 1)
    else:
        headers["x-should-retry"] = "false"
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allowed)
    return headers


def translate(error: Exception, request_id: str) -> JanError:
    """Any exception as one that may be shown. Logs what is the server's fault."""
    if isinstance(error, JanError):
        if error.status >= 500:
            logger.warning("%s: %s: %s", request_id, error.code, error.message)
        return error
    if isinstance(error, HTTPException):
        return _from_starlette(error)
    logger.error("%s failed in:\n%s", request_id, frames(error))
    logger.debug("%s failed because of:", request_id, exc_info=error)
    return JanError(f"The server failed at this; its log says where, under {request_id}.")


def _from_starlette(error: HTTPException) -> JanError:
    shown = JanError(error.detail)
    shown.status = error.status_code
    if error.status_code < 500:
        shown.type = "invalid_request_error"
        shown.code = _HTTP_CODES.get(error.status_code, "invalid_request")
    return shown


class Errors:
    """ASGI middleware: errors become answers, every answer carries `x-request-id`.

    Handlers find the id in `request.state.request_id`. Once an answer has begun, an error can only
    break it off: that is what the server below does when it is raised on.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, _request_id(scope))
        body = RestOfBody(receive)
        scope.setdefault("state", {})["request_id"] = answer.request_id
        try:
            await self._app(scope, body.receive, answer.send)
        except ClientDisconnect:
            logger.debug("%s: the client left before its request was whole", answer.request_id)
        except Exception as error:
            shown = translate(error, answer.request_id)
            if answer.begun:
                raise
            await body.read_away()
            to = without_body(answer.send) if scope["method"] == "HEAD" else answer.send
            await error_response(shown)(scope, receive, to)


class _Answer:
    """Sends on, with the request's id in the headers; knows whether the answer has begun."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            MutableHeaders(scope=message)["x-request-id"] = self.request_id
        await self._send(message)


def _request_id(scope: Scope) -> str:
    sent = Headers(scope=scope).get("x-request-id", "")
    return sent if _SANE_REQUEST_ID.fullmatch(sent) else f"req_{secrets.token_hex(8)}"
