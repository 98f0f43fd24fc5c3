"""The OpenAPI document of a small table, and the page that shows it."""

import re
from base64 import b64encode
from hashlib import sha256
from typing import Annotated, Any

import msgspec
import pytest
from openapi_spec_validator import validate
from starlette.requests import Request
from starlette.responses import Response

from jan_server.errors import (
    EngineDied,
    InvalidRequest,
    ModelNotDownloaded,
    NotFound,
    PreconditionFailed,
)
from jan_server.web.docs_page import show_docs
from jan_server.web.openapi import document
from jan_server.web.responses import json_response, stale_headers
from jan_server.web.routing import Route, Router
from jan_server.web.stack import stack
from tests.web.asgi import ask


class Paging(msgspec.Struct):
    after: str
    limit: Annotated[int, msgspec.Meta(ge=1, description="How many")] = 20


class Thread(msgspec.Struct):
    """A thread.

    With messages.
    """

    title: str = ""


class Chunk(msgspec.Struct):
    delta: str


class Last(msgspec.Struct):
    reason: str


async def handler(context: Any, request: Request) -> Response:
    return json_response({})


TABLE = [
    Route(
        "GET",
        "/threads",
        handler,
        operation_id="listThreads",
        tag="Threads",
        summary="List threads",
        query=Paging,
        response=list[Thread],
    ),
    Route(
        "POST",
        "/threads",
        handler,
        operation_id="createThread",
        tag="Threads",
        summary="Create thread",
        description="Creates one.",
        request=Thread,
        request_required=False,
        response=Thread,
        event=Chunk,
        errors=(NotFound, EngineDied, InvalidRequest),
        names=("assistant",),
    ),
    Route("POST", "/threads/talks", handler, tag="Threads", event=(Thread, Chunk, Last)),
    Route(
        "GET",
        "/models/download/{model_id:path}",
        handler,
        operation_id="downloadModel",
        tag="Models",
        errors=(NotFound, ModelNotDownloaded),
        changes=True,
    ),
    *(
        Route(
            method,
            "/threads/{thread_id}",
            handler,
            operation_id=f"{method.lower()}Thread",
            tag="Threads",
            response=Thread,
            errors=(PreconditionFailed,),
        )
        for method in ("GET", "PATCH", "DELETE")
    ),
    Route("GET", "/healthz", handler, operation_id="health", tag="Server", at_root=True),
    Route("POST", "/models/download/{model_id:path}", handler, documented=False),
]


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    return document(
        TABLE,
        title="Things",
        version="1.2",
        description="About",
        license={"name": "AGPL-3.0", "identifier": "AGPL-3.0-only"},
        servers=["/v1"],
        tags={"Threads": "Talks", "Models": "Minds"},
    )


def test_the_document_is_valid_openapi(api: dict[str, Any]) -> None:
    validate(api)
    assert msgspec.json.decode(msgspec.json.encode(api)) == api


def test_the_document_says_what_it_is(api: dict[str, Any]) -> None:
    assert {k: v for k, v in api.items() if k not in {"paths", "components"}} == {
        "openapi": "3.1.0",
        "info": {
            "title": "Things",
            "version": "1.2",
            "description": "About",
            "license": {"name": "AGPL-3.0", "identifier": "AGPL-3.0-only"},
        },
        "servers": [{"url": "/v1"}],
        "security": [{}, {"key": []}, {"x-api-key": []}],
        "tags": [
            {"name": "Threads", "description": "Talks"},
            {"name": "Models", "description": "Minds"},
        ],
    }


def test_only_documented_rows_are_shown(api: dict[str, Any]) -> None:
    shown = {
        path: {method: operation.get("operationId") for method, operation in item.items()}
        for path, item in api["paths"].items()
        if "servers" not in item
    }
    assert shown == {
        "/threads": {"get": "listThreads", "post": "createThread"},
        "/threads/talks": {"post": ""},
        "/threads/{thread_id}": {
            "get": "getThread",
            "patch": "patchThread",
            "delete": "deleteThread",
        },
        "/models/download/{model_id}": {"get": "downloadModel"},
    }
    assert api["paths"]["/healthz"]["servers"] == [{"url": "/"}]


def test_parameters_come_from_the_path_and_the_query_struct(api: dict[str, Any]) -> None:
    assert api["paths"]["/threads"]["get"]["parameters"] == [
        {"name": "after", "in": "query", "required": True, "schema": {"type": "string"}},
        {
            "name": "limit",
            "in": "query",
            "required": False,
            "description": "How many",
            "schema": {"type": "integer", "minimum": 1, "default": 20, "description": "How many"},
        },
    ]
    assert api["paths"]["/models/download/{model_id}"]["get"]["parameters"] == [
        {
            "name": "model_id",
            "in": "path",
            "required": True,
            "description": "The id of the model; it may hold `/`.",
            "schema": {"type": "string"},
        }
    ]


@pytest.mark.parametrize(
    ("method", "headers", "statuses"),
    [
        ("get", ["ETag", "X-Jan-Stale"], ["200", "304", "400", "401", "403", "412", "500"]),
        ("patch", ["ETag", "X-Jan-Stale"], ["200", "400", "401", "403", "412", "500"]),
        ("delete", [], ["200", "400", "401", "403", "412", "500"]),
    ],
)
def test_a_resource_with_an_etag_takes_conditions(
    api: dict[str, Any], method: str, headers: list[str], statuses: list[str]
) -> None:
    operation = api["paths"]["/threads/{thread_id}"][method]
    taken = [item["name"] for item in operation["parameters"] if item["in"] == "header"]
    shown = {
        status: list(answer.get("headers", {}))
        for status, answer in operation["responses"].items()
        if int(status) < 400
    }
    assert taken == ["If-Match", "If-None-Match"]
    assert shown == {status: headers for status in statuses if int(status) < 400}
    assert list(operation["responses"]) == statuses


def test_schemas_are_those_of_the_types_without_the_queries(api: dict[str, Any]) -> None:
    schemas = api["components"]["schemas"]
    assert list(schemas) == ["Chunk", "ErrorBody", "ErrorDetail", "Last", "Thread"]
    assert schemas["Thread"]["description"] == "A thread.\n\nWith messages."


def ref(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def test_an_operation_says_what_goes_in_and_out(api: dict[str, Any]) -> None:
    operation = api["paths"]["/threads"]["post"]
    assert operation["description"] == "Creates one."
    assert operation["requestBody"] == {
        "required": False,
        "content": {"application/json": ref("Thread")},
    }
    assert operation["responses"]["200"] == {
        "description": "Success. A stream is events of `data: ` and this JSON.",
        "content": {"application/json": ref("Thread"), "text/event-stream": ref("Chunk")},
    }
    assert operation["responses"]["503"] == {
        "description": "`engine_died`: The model's process ended under the request. "
        "The next request starts a new one.",
        "headers": {
            "Retry-After": {
                "description": "Seconds to wait before asking again",
                "schema": {"type": "integer"},
            }
        },
        "content": {"application/json": ref("ErrorBody")},
    }


def test_an_event_may_be_one_of_several(api: dict[str, Any]) -> None:
    answer = api["paths"]["/threads/talks"]["post"]["responses"]["200"]
    one_of = [ref(name)["schema"] for name in ("Thread", "Chunk", "Last")]
    assert answer["content"] == {"text/event-stream": {"schema": {"anyOf": one_of}}}


@pytest.mark.parametrize(
    ("path", "method", "codes"),
    [
        (
            "/threads",
            "post",
            {
                "400": ["invalid_request"],
                "401": ["invalid_api_key"],
                "403": ["host_not_allowed", "origin_not_allowed", "read_only"],
                "404": ["assistant_not_found"],
                "408": ["body_timeout"],
                "413": ["body_too_large"],
                "415": ["unsupported_media_type"],
                "500": ["internal_error"],
                "503": ["engine_died"],
            },
        ),
        (
            "/threads",
            "get",
            {
                "400": ["invalid_request"],
                "401": ["invalid_api_key"],
                "403": ["host_not_allowed"],
                "500": ["internal_error"],
            },
        ),
        (
            "/models/download/{model_id}",
            "get",
            {
                "400": ["invalid_id"],
                "401": ["invalid_api_key"],
                "403": ["host_not_allowed", "origin_not_allowed", "read_only"],
                "404": ["model_not_downloaded", "model_not_found"],
                "500": ["internal_error"],
            },
        ),
    ],
)
def test_errors_are_grouped_by_status_with_their_codes(
    api: dict[str, Any], path: str, method: str, codes: dict[str, list[str]]
) -> None:
    responses = api["paths"][path][method]["responses"]
    shown = {
        status: re.findall(r"^`(.*?)`", answer["description"], re.MULTILINE)
        for status, answer in responses.items()
        if status != "200"
    }
    assert shown == codes


APP = stack(Router([Route("GET", "/", show_docs)], None))


def test_the_page_allows_its_own_style_and_script_and_nothing_else() -> None:
    answer = ask(APP, "GET", "/")
    page = answer.body.decode()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; connect-src 'self'; ")
    for tag in ("style", "script"):
        (block,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = b64encode(sha256(block.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_page_names_no_other_host() -> None:
    assert re.findall(r"(?:https?:)?//\w[\w.]*", ask(APP, "GET", "/").body.decode()) == []


@pytest.mark.parametrize(
    ("stale", "headers"),
    [
        ("", {}),
        ("threads/t/thread.json:3:1", {"x-jan-stale": "threads/t/thread.json:3:1"}),
        ("threads/Ü/\n", {"x-jan-stale": "threads/%C3%9C/%0A"}),
    ],
)
def test_the_place_of_a_stale_file_fits_into_a_header(stale: str, headers: dict[str, str]) -> None:
    assert stale_headers(stale) == headers
