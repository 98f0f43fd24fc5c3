"""Errors -> HTTP, and the id of every request: the only translator.

The body satisfies OpenAI's clients (`error`) and Jan-shaped ones (`message`); routes of an API
that has another form say so in their rows. What is not a
JanError is our own fault: a 500 with the request's id, under which the log has the reason. Logs
hold no prompts, and an exception's text can quote one, so that text is logged at DEBUG only.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jan_server.errors import JanError, MethodNotAllowed, Unauthorized
from jan_server.logs import frames
from jan_server.web.fields import Fields, fields
from jan_server.web.requests import RestOfBody
from jan_server.web.responses import json_response, without_body

logger = logging.getLogger(__name__)

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_WORTH_A_RETRY = {429, 503}
Mark = Callable[[list[tuple[bytes, bytes]], Fields], None]
POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1
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


class ErrorForm(NamedTuple):
    """The body of errors: its type, and what makes it."""

    type: type[msgspec.Struct]
    make: Callable[[JanError], msgspec.Struct]


OUR_FORM = ErrorForm(ErrorBody, error_body)
FormOf = Callable[[Scope], ErrorForm]


def _our_form(_scope: Scope) -> ErrorForm:
    return OUR_FORM


def error_response(error: JanError, form: ErrorForm = OUR_FORM) -> Response:
    return json_response(form.make(error), status=error.status, headers=_error_headers(error))


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
    """ASGI middleware, the outermost: errors become answers, every answer carries `x-request-id`.

    And `openai-processing-ms`, how long it took until it began. Handlers find the id in
    `request.state.request_id`. `mark` adds what else every answer carries to its headers, given the
    request's; `form_of` gives the form of a request's errors. Once an answer has begun, an error
    can only break it off: that is what the server below does when it is raised on. A WebSocket that
    is refused is closed.
    """

    def __init__(
        self,
        app: ASGIApp,
        mark: Mark = lambda _headers, _sent: None,
        *,
        form_of: FormOf = _our_form,
    ) -> None:
        self._app = app
        self._mark = mark
        self._form_of = form_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._meet_socket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = RestOfBody(receive)
        answer = _Answer(send, fields(scope), self._mark, body)
        scope.setdefault("state", {})["request_id"] = answer.request_id
        try:
            await self._app(scope, body.receive, answer.send)
        except ClientDisconnect:
            logger.debug("%s: the client left before its request was whole", answer.request_id)
        except Exception as error:
            shown = translate(error, answer.request_id)
            if answer.begun:
                raise
            to = without_body(answer.send) if scope["method"] == "HEAD" else answer.send
            await error_response(shown, self._form_of(scope))(scope, receive, to)

    async def _meet_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Closed before it is open: its client sees a 403."""
        try:
            await self._app(scope, receive, send)
        except JanError as error:
            logger.debug("a WebSocket is refused: %s", error.message)
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})


class _Answer:
    """Sends on, with the headers of every answer; knows whether the answer has begun.

    What nobody has read of the request's body is read away before: else the server below closes
    the connection after the answer, and the client's next request meets that.
    """

    def __init__(self, send: Send, sent: Fields, mark: Mark, body: RestOfBody) -> None:
        self._send = send
        self._sent = sent
        self._mark = mark
        self._body = body
        self.request_id = _request_id(sent)
        self.begun = False
        self._came = time.perf_counter()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if b"content-length" in self._sent or b"transfer-encoding" in self._sent:
                await self._body.read_away()
            self.begun = True
            # A list of our own: a response that is kept and sent again must not collect headers.
            milliseconds = round((time.perf_counter() - self._came) * 1000)
            headers = [
                *message["headers"],
                (b"x-request-id", self.request_id.encode()),
                (b"openai-processing-ms", str(milliseconds).encode()),
            ]
            self._mark(headers, self._sent)
            message = {**message, "headers": headers}
        await self._send(message)


def _request_id(sent: Fields) -> str:
    id = sent.get(b"x-request-id", b"").decode("latin-1")
    return id if _SANE_REQUEST_ID.fullmatch(id) else f"req_{secrets.token_hex(8)}"
