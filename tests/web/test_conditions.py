"""Which requests are done, and which answers are worth sending again."""

from __future__ import annotations

import re

import pytest
from starlette.requests import Request
from starlette.responses import Response

from jan_server.errors import InvalidRequest, PreconditionFailed
from jan_server.web.conditions import (
    PATTERN,
    Tags,
    condition,
    parse_tags,
    resource_headers,
    resource_response,
)
from jan_server.web.responses import json_response
from jan_server.web.routing import Route, Router
from jan_server.web.stack import stack
from tests.web.asgi import Headers, ask, scope_of

ETAG = '"now"'


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ("*", Tags(any=True)),
        (" * ", Tags(any=True)),
        ('"a"', Tags(frozenset(['"a"']))),
        ('""', Tags(frozenset(['""']))),
        ('W/"a"', Tags(frozenset(['W/"a"']))),
        ('"a","b" , W/"c"', Tags(frozenset(['"a"', '"b"', 'W/"c"']))),
        ('"a,b", "c"', Tags(frozenset(['"a,b"', '"c"']))),
        (r'"a\"', Tags(frozenset([r'"a\"']))),
        (', "a",, ,"b",', Tags(frozenset(['"a"', '"b"']))),
        ('\t"a"\t', Tags(frozenset(['"a"']))),
        ('"\xfc"', Tags(frozenset(['"\xfc"']))),
        ('"*"', Tags(frozenset(['"*"']))),
    ],
)
def test_a_list_of_entity_tags_is_read(value: str, tags: Tags) -> None:
    assert parse_tags("If-Match", value) == tags
    assert re.search(PATTERN, value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        ",",
        "a",
        "'a'",
        '"a',
        'a"',
        '"a" "b"',
        '"a""b"',
        'w/"a"',
        'W / "a"',
        'W/a, "b"',
        '*, "a"',
        '"a", *',
        "**",
        '"a b"',
        '"a\x01"',
        '"a";q=1',
        '"' + '"a" ' * 4000,
    ],
)
def test_anything_else_is_a_400_that_says_what_an_entity_tag_looks_like(value: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_tags("If-None-Match", value)
    assert not re.search(PATTERN, value)
    assert raised.value.param == "If-None-Match"
    assert raised.value.message == (
        f"If-None-Match: {value[:80]!r} is neither * nor a list of entity tags. One is what an "
        'answer\'s ETag says, in its double quotes: "5d41402abc4b2a76b9719d911017c592".'
    )


@pytest.mark.parametrize(
    ("value", "etag", "strongly", "weakly"),
    [
        ("*", '"a"', True, True),
        ('"a"', '"a"', True, True),
        ('"b", "a"', '"a"', True, True),
        ('"b"', '"a"', False, False),
        ('"A"', '"a"', False, False),
        ('W/"a"', '"a"', False, True),
        ('"a"', 'W/"a"', False, True),
        ('W/"a"', 'W/"a"', False, True),
        ('W/"b"', 'W/"a"', False, False),
    ],
)
def test_tags_are_compared_strongly_for_changes_and_weakly_for_reads(
    value: str, etag: str, strongly: bool, weakly: bool
) -> None:
    tags = parse_tags("If-Match", value)
    assert (tags.match(etag), tags.match_weakly(etag)) == (strongly, weakly)


async def read(context: None, request: Request) -> Response:
    return resource_response(request, {"a": 1}, etag=ETAG, stale="a.json:1:2")


async def change(context: None, request: Request) -> Response:
    condition(request)(ETAG)
    return json_response({"a": 2}, headers=resource_headers('"next"'))


APP = stack(
    Router([Route("GET", "/one", read), Route("PATCH", "/one", change)], None),
    vary=["OpenAI-Beta"],
)
SHOWN = {
    "etag": ETAG,
    "x-jan-stale": "a.json:1:2",
    "vary": "OpenAI-Beta, Origin",
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"If-None-Match": '"old"'}, 200),
        ({"If-None-Match": ETAG}, 304),
        ({"If-None-Match": f"W/{ETAG}"}, 304),
        ({"If-None-Match": "*"}, 304),
        ([("If-None-Match", '"old"'), ("If-None-Match", ETAG)], 304),
        ({"If-Match": ETAG}, 200),
        ({"If-Match": ETAG, "If-None-Match": ETAG}, 304),
    ],
)
def test_a_read_is_answered_unless_the_client_has_it(
    headers: Headers, status: int, method: str
) -> None:
    answer = ask(APP, method, "/one", headers=headers)
    for ours in ("x-request-id", "openai-processing-ms"):
        answer.headers.pop(ours)
    has_body = status == 200 and method == "GET"
    sent = {"content-length": "7", "content-type": "application/json"} if status == 200 else {}
    assert (answer.status, answer.body, answer.headers) == (
        status,
        b'{"a":1}' if has_body else b"",
        {**SHOWN, **sent},
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"If-Match": ETAG}, 200),
        ({"If-Match": f'"old", {ETAG}'}, 200),
        ([("If-Match", '"old"'), ("If-Match", ETAG)], 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"old"'}, 412),
        ({"If-Match": f"W/{ETAG}"}, 412),
        ({"If-None-Match": '"old"'}, 200),
        ({"If-None-Match": "*"}, 412),
        ({"If-None-Match": f"W/{ETAG}"}, 412),
        ({"If-Match": ETAG, "If-None-Match": ETAG}, 412),
        ({"If-Match": "now"}, 400),
        ({"If-None-Match": "now"}, 400),
    ],
)
def test_a_change_is_done_only_to_what_the_client_has_seen(headers: Headers, status: int) -> None:
    answer = ask(APP, "PATCH", "/one", headers=headers)
    assert answer.status == status
    assert answer.headers.get("etag") == ('"next"' if status == 200 else None)


def test_a_change_that_is_refused_says_which_version_there_is() -> None:
    answer = ask(APP, "PATCH", "/one", headers={"If-Match": '"old"'})
    assert answer.json()["error"]["code"] == "precondition_failed"
    assert f"its ETag is {ETAG} now" in answer.json()["message"]


def test_a_read_of_another_version_than_the_one_there_is_is_a_412() -> None:
    assert ask(APP, "GET", "/one", headers={"If-Match": '"old"'}).status == 412


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
def test_garbage_is_a_400_for_reads_too(name: str) -> None:
    answer = ask(APP, "GET", "/one", headers={name: "now"})
    assert (answer.status, answer.json()["error"]["param"]) == (400, name)


def test_a_check_without_conditions_lets_everything_pass() -> None:
    check = condition(Request(scope_of("PATCH", "/one")))
    check('"whatever"')


def test_the_check_is_made_once_and_asked_under_the_lock() -> None:
    check = condition(Request(scope_of("PATCH", "/one", headers={"If-Match": ETAG})))
    check(ETAG)
    with pytest.raises(PreconditionFailed):
        check('"changed since"')
