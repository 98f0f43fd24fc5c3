"""A request as it goes to the server that answers it."""

from __future__ import annotations

import pytest

from jan_server.remote import CHAT, EMBEDDINGS, TEXTS, Remote
from jan_server.remote.outgoing import headers, request_body


def remote(key="", **parameters):
    return Remote(id="mine", engine="openai", name="theirs", key=key, parameters=parameters)


def test_all_of_it_goes_under_the_name_that_the_model_has_there():
    sent = {
        "model": "mine",
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
        "top_k": 3,
        "stop": None,
        "guided_json": {},
        "made up": [1],
    }
    assert request_body(CHAT, sent, remote()) == {**sent, "model": "theirs"}


def test_a_request_without_a_model_goes_with_one():
    assert request_body(TEXTS, {"prompt": "x"}, remote()) == {"prompt": "x", "model": "theirs"}


def test_what_speaks_of_this_servers_memory_stays_here():
    sent = {"input": "x", "keep_alive": "5m", "engine": "openai", "cache_prompt": True}
    assert request_body(EMBEDDINGS, sent, remote()) == {"input": "x", "model": "theirs"}


@pytest.mark.parametrize(
    ("sent", "manifest", "added"),
    [
        ({}, {"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2, "top_p": 0.9}),
        ({"temperature": 1}, {"temperature": 0.2}, {}),
        ({"temperature": 0}, {"temperature": 0.2}, {}),
        ({"temperature": None}, {"temperature": 0.2}, {"temperature": 0.2}),
        ({}, {"token_limit": 9}, {"max_tokens": 9}),
        ({"max_completion_tokens": 5}, {"max_tokens": 9}, {}),
        ({}, {"stop": []}, {}),
        ({}, {"stop": ["x"]}, {"stop": ["x"]}),
        ({"stop": []}, {"stop": ["x"]}, {}),
        ({}, {"stream": True}, {}),
    ],
)
def test_a_manifests_parameters_are_for_what_the_request_does_not_say(sent, manifest, added):
    for path in (CHAT, TEXTS):
        expected = {**sent, "model": "theirs", **added}
        assert request_body(path, sent, remote(**manifest)) == expected
    assert request_body(EMBEDDINGS, sent, remote(**manifest)) == {**sent, "model": "theirs"}


def test_the_key_goes_under_both_names():
    assert headers(remote("k"), streams=False) == {
        "content-type": "application/json",
        "authorization": "Bearer k",
        "api-key": "k",
    }
    assert headers(remote(), streams=False) == {"content-type": "application/json"}


def test_events_are_not_to_be_compressed():
    assert headers(remote(), streams=True) == {
        "content-type": "application/json",
        "accept": "text/event-stream",
        "accept-encoding": "identity",
    }
