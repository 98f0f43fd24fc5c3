"""Bodies and queries become typed values, or errors that name the offending field."""

import asyncio
from typing import Any, Literal

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from jan_server.errors import InvalidRequest
from jan_server.web import requests
from jan_server.web.errors import Errors
from jan_server.web.requests import RestOfBody, decode_json, read_json, read_query
from jan_server.web.responses import json_response
from jan_server.web.routing import Route, Router
from tests.web.asgi import Answer, ask, scope_of


class Text(msgspec.Struct, tag="text"):
    text: str


class Picture(msgspec.Struct, tag="picture"):
    url: str


class ChatMessage(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: str | list[Text | Picture] = ""


class Chat(msgspec.Struct):
    messages: list[ChatMessage] = []
    temperature: float = 1.0
    n: int = 1
    logit_bias: dict[str, int] = {}


class Paging(msgspec.Struct):
    limit: int = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    all: bool = False


async def chat(context: None, request: Request) -> Response:
    typed, raw = await read_json(request, Chat)
    return json_response([typed, raw])


async def thread(context: None, request: Request) -> Response:
    return json_response(await read_json(request, Chat, required=False))


async def page(context: None, request: Request) -> Response:
    return json_response(read_query(request, Paging))


APP = Errors(
    Router(
        [
            Route("POST", "/chat", chat),
            Route("POST", "/thread", thread),
            Route("GET", "/page", page),
        ],
        None,
        body_limit=1000,
    )
)

EMPTY = {"messages": [], "temperature": 1.0, "n": 1, "logit_bias": {}}


def wrong(answer: Answer) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status, error["message"], error["param"]


def test_the_typed_view_comes_with_all_that_was_sent() -> None:
    answer = ask(APP, "POST", "/chat", body=b'{"n": 2, "mine": [1]}')
    assert answer.json() == [{**EMPTY, "n": 2}, {"n": 2, "mine": [1]}]


@pytest.mark.parametrize(
    "content_type",
    [None, "", "application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense"],
)
def test_a_body_is_json_whatever_it_calls_itself(content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    assert ask(APP, "POST", "/chat", headers=headers, body=b"{}").json() == [EMPTY, {}]


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "Multipart/form-data; boundary=x"}, {"content-encoding": "gzip"}],
)
def test_a_form_or_a_packed_body_is_a_415(headers: dict[str, str]) -> None:
    answer = ask(APP, "POST", "/chat", headers=headers, body=b"{}")
    assert (answer.status, answer.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_a_body_that_says_that_it_is_not_packed_is_read() -> None:
    headers = {"content-encoding": " Identity"}
    assert ask(APP, "POST", "/chat", headers=headers, body=b"{}").status == 200


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_an_absent_body_is_an_empty_object_where_none_is_needed(body: bytes) -> None:
    assert ask(APP, "POST", "/thread", body=body).json() == [EMPTY, {}]
    message = "A JSON object is needed as the body, and none was sent."
    assert wrong(ask(APP, "POST", "/chat", body=body)) == (400, message, None)


@pytest.mark.parametrize("body", [b'\xef\xbb\xbf{"n":1}', b'{"n":2,"n":1}', b' {"n" : 1}\n'])
def test_what_tools_write_is_read(body: bytes) -> None:
    assert ask(APP, "POST", "/chat", body=body).json()[0] == EMPTY


@pytest.mark.parametrize(
    ("body", "param", "reason"),
    [
        (b"[]", "$", "expected `object`, got `array`"),
        (b"null", "$", "expected `object`, got `null`"),
        (b'{"n":"x"}', "$.n", "expected `int`, got `str`"),
        (b'{"messages":[{}]}', "$.messages[0].role", "it is missing"),
        (b'{"messages":[{"role":1}]}', "$.messages[0].role", "expected `str`, got `int`"),
        (b'{"messages":[{"role":"x"}]}', "$.messages[0].role", "must be one of assistant, user"),
        (
            b'{"messages":[{"role":"user","content":1}]}',
            "$.messages[0].content",
            "expected `str | array`, got `int`",
        ),
        (
            b'{"messages":[{"role":"user","content":[{"text":"x"}]}]}',
            "$.messages[0].content[0].type",
            "it is missing",
        ),
        (
            b'{"messages":[{"role":"user","content":[{"type":"x"}]}]}',
            "$.messages[0].content[0].type",
            "must be one of text, picture",
        ),
        (
            b'{"messages":[{"role":"user","content":[{"type":"text"}]}]}',
            "$.messages[0].content[0].text",
            "it is missing",
        ),
        (b'{"logit_bias":{"5":"x"}}', "$.logit_bias[...]", "expected `int`, got `str`"),
        (b'{"temperature":1e999}', "$[...]", "number out of range"),
    ],
)
def test_a_wrong_value_is_a_400_with_its_json_path(body: bytes, param: str, reason: str) -> None:
    answer = ask(APP, "POST", "/chat", body=body)
    assert wrong(answer) == (400, f"{param}: {reason}.", param)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "Expecting property name enclosed in double quotes, at line 1 column 2"),
        (b'{"a":1,\n "b" 2}', "Expecting ':' delimiter, at line 2 column 6"),
        (b"{} x", "Extra data, at line 1 column 4"),
        (b"hello", "Expecting value, at line 1 column 1"),
        (b"prompt=hello", "Expecting value, at line 1 column 1"),
        (b'{"temperature":NaN}', "NaN is no JSON number"),
        (b'{"temperature":-Infinity}', "-Infinity is no JSON number"),
        (b'{"a":\n"\\ud83d"}', "\\ud83d in line 2 is half of a surrogate pair"),
        (
            b'{"a":"\\\\ud83d \\ud83d\\ude00 \\ude00"}',
            "\\ude00 in line 1 is half of a surrogate pair",
        ),
        (b'{"a":"\\ud83dx"}', "\\ud83d in line 1 is half of a surrogate pair"),
    ],
)
def test_what_is_not_json_is_a_400_with_the_place(body: bytes, reason: str) -> None:
    answer = ask(APP, "POST", "/chat", body=body)
    assert wrong(answer) == (400, f"The body is not JSON: {reason}.", None)


def test_other_encodings_are_a_400_with_the_place() -> None:
    answer = ask(APP, "POST", "/chat", body=b'{"a":"\xfc"}')
    assert wrong(answer) == (400, "The body is not UTF-8 at byte 6.", None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"a":' * 101 + b"1" + b"}" * 101,
        b'{"a":' + b"[" * 1_000_000,
        b'{"a":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}",
        b'{"a":"\\ud83d","b":' + b"[" * 1_000_000,
    ],
    ids=["lists", "objects", "unclosed", "a million", "after half a surrogate pair"],
)
def test_json_nested_too_deep_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="nested deeper than 100 levels"):
        decode_json(body, Chat)


def test_json_nested_as_deep_as_allowed_is_read() -> None:
    body = b'{"a":' + b"[" * 99 + b"1" + b"]" * 99 + b"}"
    assert decode_json(body, Chat)[0] == Chat()


@pytest.mark.parametrize("digits", [b"9" * 5000, b"1" + b"0" * 30])
def test_huge_numbers_are_no_fault_of_the_server(digits: bytes) -> None:
    body = b'{"n":' + digits + b"}"
    with pytest.raises(InvalidRequest):
        decode_json(body + b"]", Chat)


@pytest.mark.parametrize("chunks", [[b" " * 1001], [b" " * 600, b" " * 600, b"{}"]])
def test_a_body_beyond_the_limit_is_a_413(chunks: list[bytes]) -> None:
    answer = ask(APP, "POST", "/chat", body=chunks)
    assert (answer.status, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert answer.json()["message"] == "The body is larger than the 1,000 bytes that are read."


def test_a_body_as_large_as_the_limit_is_read() -> None:
    body = b"{}".ljust(1000)
    for headers in ({}, {"content-length": "1000"}):
        assert ask(APP, "POST", "/chat", headers=headers, body=body).status == 200


def test_an_announced_length_beyond_the_limit_is_a_413_before_anything_is_read() -> None:
    read = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def reading() -> Message:
            read.append(1)
            return await receive()

        try:
            await requests.read_body(Request(scope, reading), limit=10)
        finally:
            assert read == []

    answer = ask(Errors(app), "POST", "/", headers={"content-length": "11"}, body=b"x" * 11)
    assert answer.status == 413


@pytest.mark.parametrize("announced", ["ten", "-1", ""])
def test_a_length_that_is_no_number_says_nothing(announced: str) -> None:
    headers = {"content-length": announced}
    assert ask(APP, "POST", "/chat", headers=headers, body=b"{}").status == 200


def test_a_body_that_does_not_arrive_is_a_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "BODY_SECONDS", 0.01)
    monkeypatch.setattr(requests, "READ_AWAY_SECONDS", 0.01)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def body() -> bytes:
        return await requests.read_body(Request(scope_of("POST", "/"), never), limit=10)

    with pytest.raises(requests.BodyTimeout, match=r"did not arrive within 0\.01 seconds"):
        asyncio.run(body())


def reading_away(messages: list[Message], **limits: float) -> int:
    """How many messages are left after the rest was read away."""

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    asyncio.run(RestOfBody(receive).read_away(**limits))  # type: ignore[arg-type]
    return len(messages)


def chunk(size: int, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


@pytest.mark.parametrize(
    ("messages", "left"),
    [
        ([chunk(1), chunk(1, more=False), chunk(1)], 1),
        ([chunk(1), {"type": "http.disconnect"}, chunk(1)], 1),
        ([chunk(6), chunk(6), chunk(6)], 1),
        ([chunk(1)], 0),
    ],
    ids=["to the end", "until the client leaves", "up to the limit", "for so long"],
)
def test_the_rest_of_a_body_is_read_away(messages: list[Message], left: int) -> None:
    assert reading_away(messages, limit=10, seconds=0.01) == left


def test_a_body_that_was_read_is_not_waited_for() -> None:
    answer = ask(APP, "POST", "/chat", body=b"[]")
    assert answer.status == 400


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ("", {"limit": 20, "order": "desc", "after": None, "all": False}),
        (
            "?limit=-1&order=asc&after=a%20b&all=true&other=1",
            {"limit": -1, "order": "asc", "after": "a b", "all": True},
        ),
        ("?limit=1&limit=2", {"limit": 2, "order": "desc", "after": None, "all": False}),
    ],
)
def test_a_query_is_read_into_a_struct(query: str, page: dict[str, Any]) -> None:
    assert ask(APP, "GET", f"/page{query}").json() == page


@pytest.mark.parametrize(
    ("query", "message", "param"),
    [
        ("?limit=x", "Query parameter limit: expected `int`, got `str`, and is 'x'.", "limit"),
        ("?limit=", "Query parameter limit: expected `int`, got `str`, and is ''.", "limit"),
        ("?order=up", "Query parameter order: must be one of asc, desc, and is 'up'.", "order"),
    ],
)
def test_a_wrong_query_is_a_400_that_names_the_parameter(
    query: str, message: str, param: str
) -> None:
    assert wrong(ask(APP, "GET", f"/page{query}")) == (400, message, param)
