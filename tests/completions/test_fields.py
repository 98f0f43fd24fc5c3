"""Which fields of a request are known."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from jan_server.completions import fields
from jan_server.errors import ParameterNotSupported


@pytest.mark.parametrize("name", fields.REFUSED_IN_CHATS)
def test_what_is_refused_is_named_and_null_asks_for_nothing(name: str) -> None:
    chats = fields.of_chats()
    chats.check({name: None})
    with pytest.raises(ParameterNotSupported) as caught:
        chats.check({name: "something"})
    assert caught.value.param == f"$.{name}"


@pytest.mark.parametrize(
    ("name", "harmless"),
    [(name, value) for name, values in fields.REFUSED_IN_CHATS.items() for value in values],
)
def test_what_asks_for_nothing_is_accepted(name: str, harmless: Any) -> None:
    fields.of_chats().check({name: harmless})


def test_texts_and_chats_differ() -> None:
    fields.of_chats().check({"suffix": "x"})
    with pytest.raises(ParameterNotSupported):
        fields.of_texts().check({"suffix": "x"})
    fields.of_texts().check({"best_of": 2})


@pytest.mark.parametrize(
    ("checked", "message"),
    [
        (fields.of_chats(), "This server cannot honour 'n_probs': send 'top_logprobs' instead."),
        (fields.of_texts(), "This server cannot honour 'n_probs': send 'logprobs' instead."),
    ],
)
def test_what_is_sent_in_its_place_is_a_field_of_that_request(
    checked: fields.Fields, message: str
) -> None:
    with pytest.raises(ParameterNotSupported) as caught:
        checked.check({"n_probs": 2})
    assert caught.value.message == message


@pytest.mark.parametrize("instead", [fields.INSTEAD, fields.INSTEAD_IN_TEXTS])
def test_what_has_something_in_its_place_is_refused(instead: dict[str, str]) -> None:
    assert instead.keys() <= fields.REFUSED_IN_CHATS.keys()


def test_no_more_unknown_names_are_logged_than_anybody_reads(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    chats = fields.of_chats()
    for number in range(2 * fields.UNKNOWN_LOGGED_AT_MOST):
        chats.check({f"odd{number}": 1, "temperature": 1, "user": "me", "guided_json": {}})
    assert len(caplog.messages) == fields.UNKNOWN_LOGGED_AT_MOST
    assert "'odd0' is unknown and ignored" in caplog.messages[0]
