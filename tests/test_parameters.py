"""Which value wins, and what becomes of wrong ones."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest

from jan_server.engines.base import Parameters
from jan_server.errors import InvalidRequest
from jan_server.parameters import resolve, said

DEFAULTS = Parameters()


def only(**given: Any) -> Parameters:
    return msgspec.structs.replace(DEFAULTS, **given)


def test_nothing_said_gives_the_documents_defaults() -> None:
    assert resolve({}) == Parameters(temperature=0.7, top_p=0.95, max_tokens=2048)


def test_request_wins_over_thread_over_assistant_over_model_json() -> None:
    files: list[tuple[str, dict[str, Any]]] = [
        ("thread", {"temperature": 0.2, "top_p": 0.2}),
        ("assistant", {"temperature": 0.3, "top_p": 0.3, "top_k": 30}),
        ("model.json", {"temperature": 0.4, "top_p": 0.4, "top_k": 40, "max_tokens": 4}),
    ]
    assert resolve({"temperature": 0.1}, files) == only(
        temperature=0.1, top_p=0.2, top_k=30, max_tokens=4
    )


def test_a_null_says_nothing() -> None:
    assert resolve({"temperature": None}, [("model.json", {"temperature": 1, "seed": None})]) == (
        only(temperature=1.0)
    )


def test_zero_and_false_are_said() -> None:
    said = {"temperature": 0, "top_p": 0, "seed": 0, "cache_prompt": False}
    assert resolve(said, [("model.json", {"temperature": 1})]) == only(
        temperature=0.0, top_p=0.0, seed=0, cache_prompt=False
    )


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"max_completion_tokens": 5}, only(max_tokens=5)),
        ({"token_limit": 5}, only(max_tokens=5)),
        ({"n_predict": 5}, only(max_tokens=5)),
        ({"max_tokens": -1}, only(max_tokens=2**31 - 1)),
        ({"max_tokens": 5, "max_completion_tokens": 6}, only(max_tokens=5)),
        ({"max_tokens": 5.0}, only(max_tokens=5)),
        ({"repetition_penalty": 1.1}, only(repeat_penalty=1.1)),
        ({"repeat_last_n": 0}, only(repeat_last_n=0)),
        ({"min_p": 0.05}, only(min_p=0.05)),
        ({"typical_p": 0.5}, only(typical_p=0.5)),
        ({"typ_p": 0.5}, only(typical_p=0.5)),
        (
            {"mirostat": 2, "mirostat_tau": 3, "mirostat_eta": 0.2},
            only(mirostat=2, mirostat_tau=3.0, mirostat_eta=0.2),
        ),
        ({"ignore_eos": True}, only(ignore_eos=True)),
        ({"logit_bias": {}}, DEFAULTS),
        ({"logit_bias": {"5": -100, "007": 0.5}}, only(logit_bias={5: -100.0, 7: 0.5})),
        ({"logit_bias": [[5, 1], ["6", False]]}, only(logit_bias={5: 1.0, 6: -100.0})),
        ({"top_k": -1}, only(top_k=0)),
        (
            {"presence_penalty": -2, "frequency_penalty": 2},
            only(presence_penalty=-2.0, frequency_penalty=2.0),
        ),
        ({"seed": -1}, only(seed=None)),
        ({"seed": -2}, only(seed=2**64 - 2)),
        ({"seed": 2**64 - 1}, only(seed=2**64 - 1)),
        ({"stop": "end"}, only(stop=("end",))),
        ({"stop": ["a", "b"]}, only(stop=("a", "b"))),
        ({"unknown": 1, "stream": True}, DEFAULTS),
    ],
)
def test_what_a_request_may_say(sent: dict[str, Any], read: Parameters) -> None:
    assert resolve(sent) == read


@pytest.mark.parametrize(
    ("sent", "path", "reason"),
    [
        ({"temperature": 2.1}, "$.temperature", "a number from 0 to 2"),
        ({"temperature": "0.7"}, "$.temperature", "a number from 0 to 2"),
        ({"temperature": True}, "$.temperature", "a number from 0 to 2"),
        ({"temperature": float("nan")}, "$.temperature", "a number from 0 to 2"),
        ({"temperature": 10**400}, "$.temperature", "a number from 0 to 2"),
        ({"top_p": -0.1}, "$.top_p", "a number from 0 to 1"),
        ({"presence_penalty": 3}, "$.presence_penalty", "a number from -2 to 2"),
        ({"repeat_penalty": 0}, "$.repeat_penalty", "a number from 0.001 to 1000"),
        ({"repeat_penalty": [1]}, "$.repeat_penalty", "a number from 0.001 to 1000"),
        ({"max_tokens": 0}, "$.max_tokens", "an integer from 1 to 2147483647"),
        ({"max_tokens": 1.5}, "$.max_tokens", "an integer"),
        (
            {"max_tokens": 1, "max_completion_tokens": 0},
            "$.max_completion_tokens",
            "an integer from 1 to 2147483647",
        ),
        ({"typical_p": 2}, "$.typical_p", "a number from 0 to 1"),
        ({"mirostat": 3}, "$.mirostat", "an integer from 0 to 2"),
        ({"mirostat_tau": -1}, "$.mirostat_tau", "a number from 0 to 100"),
        ({"mirostat_eta": 2}, "$.mirostat_eta", "a number from 0 to 1"),
        ({"ignore_eos": 1}, "$.ignore_eos", "true or false"),
        (
            {"logit_bias": "5"},
            "$.logit_bias",
            "an object of token ids and numbers, or a list of such pairs",
        ),
        (
            {"logit_bias": {"5": 101}},
            "$.logit_bias.5",
            "a token id with a number: a number from -100 to 100",
        ),
        ({"logit_bias": {"x": 1}}, "$.logit_bias.x", "a token id with a number: an integer"),
        (
            {"logit_bias": {"9999999999": 1}},
            "$.logit_bias.9999999999",
            "a token id with a number: an integer from 0 to 2147483647",
        ),
        ({"logit_bias": [[5]]}, "$.logit_bias[0]", "a token id and a number"),
        ({"logit_bias": [[5, 1], 6]}, "$.logit_bias[1]", "a token id and a number"),
        (
            {"logit_bias": [[True, 1]]},
            "$.logit_bias[0]",
            "a token id with a number: an integer",
        ),
        ({"top_k": -2}, "$.top_k", "an integer from -1 to 2147483647"),
        ({"seed": 2**64}, "$.seed", f"an integer from {-(2**63)} to {2**64 - 1}"),
        ({"seed": True}, "$.seed", "an integer"),
        ({"cache_prompt": 1}, "$.cache_prompt", "true or false"),
        ({"stop": ""}, "$.stop", "a string that is not empty, or a list of such"),
        ({"stop": {"a": 1}}, "$.stop", "a string that is not empty, or a list of such"),
        ({"stop": ["a", ""]}, "$.stop[1]", "a string that is not empty"),
        ({"stop": ["a", 1]}, "$.stop[1]", "a string that is not empty"),
        ({"stop": ["x"] * 17}, "$.stop", "at most 16 strings, not 17"),
    ],
)
def test_a_wrong_value_in_the_request_is_refused_with_its_path(
    sent: dict[str, Any], path: str, reason: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(sent)
    assert (caught.value.param, caught.value.message) == (path, f"{path}: must be {reason}.")


def test_what_the_request_itself_says_is_told() -> None:
    assert said({"n_predict": 5}, "max_tokens") == 5
    assert said({}, "max_tokens") is None


def test_files_may_write_numbers_and_booleans_as_strings() -> None:
    parameters: dict[str, Any] = {
        "temperature": "0.5",
        "token_limit": "1024",
        "top_k": "40.0",
        "cache_prompt": "False",
        "stop": "2048",
    }
    assert resolve({}, [("model.json", parameters)]) == only(
        temperature=0.5, max_tokens=1024, top_k=40, cache_prompt=False, stop=("2048",)
    )


def test_an_empty_stop_in_a_file_says_nothing_but_in_the_request_it_means_none() -> None:
    files: list[tuple[str, dict[str, Any]]] = [
        ("thread", {"stop": []}),
        ("model.json", {"stop": ["</s>"]}),
    ]
    assert resolve({}, files) == only(stop=("</s>",))
    assert resolve({"stop": []}, files) == DEFAULTS


def test_a_wrong_value_in_a_file_is_skipped_logged_and_the_next_layer_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    files: list[tuple[str, dict[str, Any]]] = [
        ("threads/t/thread.json", {"temperature": "warm", "stop": ["a", ""]}),
        ("models/m/model.json", {"temperature": 0.4, "max_tokens": 0, "top_p": "nan"}),
    ]
    with caplog.at_level(logging.WARNING):
        assert resolve({}, files) == only(temperature=0.4)
    assert caplog.messages == [
        "threads/t/thread.json: temperature is ignored: it must be a number from 0 to 2",
        "models/m/model.json: top_p is ignored: it must be a number from 0 to 1",
        "models/m/model.json: max_tokens is ignored: it must be an integer from 1 to 2147483647",
        "threads/t/thread.json: stop[1] is ignored: it must be a string that is not empty",
    ]
