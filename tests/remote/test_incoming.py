"""What a remote server answers, as the client gets it."""

from __future__ import annotations

import email.utils
import time

import pytest

from jan_server.errors import RemoteFailed
from jan_server.remote import Remote
from jan_server.remote.incoming import error_of, read_answer

KEY = "sk-secret"
REMOTE = Remote(
    id="mine",
    engine="openai",
    name="theirs",
    url="https://there.example/v1/chat/completions?key=hidden",
    key=KEY,
)
SERVER = "The remote server at https://there.example"


def told(status, body=b"", headers=None, remote=REMOTE):
    error = error_of(status, headers or {}, body, remote)
    assert KEY not in error.message
    return type(error).__name__, error.status, error.message, error.type, error.code, error.param


def test_an_answer_stays_as_it_is_but_for_the_models_name():
    answer = b'{"id":"1","model":"theirs","choices":[{"x":1e-7}],"own":{"deep":[null]}}'
    assert list(read_answer(answer, REMOTE).items()) == [
        ("id", "1"),
        ("model", "mine"),
        ("choices", [{"x": 1e-7}]),
        ("own", {"deep": [None]}),
    ]
    assert read_answer('{"error": null}', REMOTE) == {"error": None, "model": "mine"}


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b'"x"', b"\xff", b"[" * 100_000])
def test_what_is_no_answer_is_an_error(answer):
    with pytest.raises(RemoteFailed, match=f"^{SERVER} answered no JSON object.$"):
        read_answer(answer, REMOTE)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ('{"message": "quotes the prompt", "code": "engine_died"}', " (engine_died)"),
        ('{"message": "quotes the prompt", "type": "server_error"}', " (server_error)"),
        ('{"code": "quotes the prompt"}', ""),
        ('"quotes the prompt"', ""),
    ],
)
def test_an_event_that_tells_of_an_error_is_one_without_its_words(error, code):
    with pytest.raises(RemoteFailed) as caught:
        read_answer(f'{{"error": {error}}}', REMOTE)
    assert caught.value.message == f"{SERVER} failed{code}."


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 429])
def test_a_request_found_wrong_has_the_status_and_words_of_who_found_it(status):
    body = b'{"error": {"message": "No.", "type": "t", "code": "c", "param": "p"}}'
    assert told(status, body) == ("RemoteRefused", status, "No.", "t", "c", "p")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"object": "error", "message": "Said so."}', "Said so."),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"error": "Said so."}', "Said so."),
        (b'{"error": {"message": 5, "code": 5}}', f"{SERVER} answered 404."),
        (b'{"error": null}', f"{SERVER} answered 404."),
        (b"[]", f"{SERVER} answered 404."),
        (b"<h1>404</h1>", f"{SERVER} answered 404."),
        (b'{"message": "%s"}' % (b"x" * 9000), "x" * 2000),
        (b'{"message": "The key sk-secret has no credit."}', "The key *** has no credit."),
    ],
)
def test_the_words_are_found_in_any_of_the_usual_places(body, message):
    assert told(404, body) == (
        "RemoteRefused",
        404,
        message,
        "invalid_request_error",
        "remote_refused",
        None,
    )


@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_refused_key_is_not_the_clients_key(status):
    body = b'{"error": {"message": "Incorrect API key provided: sk-secret"}}'
    expected = f"{SERVER} refused our key: see engines/openai.json."
    assert told(status, body)[:3] == ("RemoteFailed", 502, expected)
    without = Remote(id="m", engine="groq", name="m", url=REMOTE.url)
    expected = f"{SERVER} demands a key: put it into engines/groq.json."
    assert told(status, remote=without)[:3] == ("RemoteFailed", 502, expected)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (500, ("RemoteFailed", 502, f"{SERVER} failed with status 500 (its_code).")),
        (503, ("RemoteFailed", 502, f"{SERVER} failed with status 503 (its_code).")),
        (204, ("RemoteFailed", 502, f"{SERVER} failed with status 204 (its_code).")),
        (408, ("RemoteTimeout", 504, f"{SERVER} did not answer in time.")),
        (504, ("RemoteTimeout", 504, f"{SERVER} did not answer in time.")),
        (
            307,
            (
                "RemoteFailed",
                502,
                f"{SERVER} says that it is elsewhere: mend full_url in engines/openai.json.",
            ),
        ),
    ],
)
def test_its_own_failure_is_a_502_or_504_without_its_words(status, expected):
    body = b'{"error": {"message": "quotes the prompt", "code": "its_code"}}'
    assert told(status, body)[:3] == expected


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7), ("0.2", 1), ("0", 1), ("-3", 1), ("soon", None), ("", None), ("inf", None)],
)
def test_when_to_come_again_is_passed_on_in_whole_seconds(said, seconds):
    assert error_of(429, {"retry-after": said}, b"", REMOTE).retry_after == seconds


def test_when_to_come_again_may_be_a_date():
    later = email.utils.formatdate(time.time() + 3600, usegmt=True)
    seconds = error_of(429, {"retry-after": later}, b"", REMOTE).retry_after
    assert 3500 < seconds <= 3600
    past = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert error_of(429, {"retry-after": past}, b"", REMOTE).retry_after == 1
