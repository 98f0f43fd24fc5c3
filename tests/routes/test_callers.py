"""Who asks."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from jan_server.routes.callers import caller, name_of
from tests.web.asgi import scope_of


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ({}, "127.0.0.1 curl"),
        ({"user": None, "safety_identifier": ""}, "127.0.0.1 curl"),
        ({"user": 5}, "127.0.0.1 curl"),
        ({"user": "ann"}, "user ann"),
        ({"user": "ann", "safety_identifier": "x"}, "safety_identifier x"),
    ],
)
def test_people_are_told_apart_where_a_program_names_them(sent: dict[str, Any], name: str) -> None:
    assert name_of(sent, host="127.0.0.1", user_agent="curl") == name


def test_a_program_is_known_by_its_address_without_the_port_and_by_what_it_calls_itself() -> None:
    scope = scope_of("POST", "/", headers={"user-agent": "curl"})
    assert caller(Request(scope), {}) == "127.0.0.1 curl"
    assert caller(Request({**scope, "client": None}), {}) == " curl"


def test_a_name_is_not_long() -> None:
    assert len(name_of({"user": "x" * 10_000}, host="", user_agent="")) == 200
