"""What commands hear of a running server."""

from __future__ import annotations

import socket
from typing import Any

import msgspec
import pytest

from jan_server.cli import client
from jan_server.cli.client import ServerFailed, ServerRefused, quoted, running_server
from jan_server.errors import SettingsInvalid
from jan_server.presence import announced
from jan_server.settings import Settings
from jan_server.store import Store
from jan_server.types.model import StoppedModel
from tests.cli.sockets import a_server_that, answering
from tests.running import served


@pytest.fixture
def settings(data_folder):
    return Settings(data_folder=data_folder, fsync=False)


def health(settings) -> Any:
    with running_server(settings) as server:
        return server.ask("GET", "/healthz", type=dict)


def waits_until_we_leave(connection):
    while connection.recv(65_536):
        pass


def test_there_is_none(settings):
    with running_server(settings) as server:
        assert server is None


def test_its_answer_is_decoded(settings, echo):
    with served(settings) as url, running_server(settings) as server:
        assert repr(server) == f"<Client of {url}>"
        answer = server.ask("PUT", f"/v1/models/{quoted(echo)}/stop", type=StoppedModel)
        assert answer == StoppedModel(id="echo")
        listed = server.ask("GET", "/v1/models", query={"state": "all"}, type=dict)
        assert len(listed["data"]) > 1
        started = server.ask("POST", f"/v1/models/{echo}/start", body={"ctx_len": 64}, type=dict)
        assert started["state"] == "running"


def test_what_is_wrong_with_the_request_is_told_in_its_words(settings):
    with (
        served(settings),
        running_server(settings) as server,
        pytest.raises(ServerRefused, match="No model has the id 'a b/c'") as refused,
    ):
        server.ask("PUT", f"/v1/models/{quoted('a b/c')}/stop", type=StoppedModel)
    assert (refused.value.status, refused.value.code) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("key", "said"), [(None, "demands its API key"), ("other", "demands another API key")]
)
def test_a_wrong_key_is_told_with_where_to_say_it(settings, data_folder, key, said):
    with (
        served(msgspec.structs.replace(settings, api_key="secret")),
        running_server(msgspec.structs.replace(settings, api_key=key)) as server,
        pytest.raises(SettingsInvalid) as refused,
    ):
        server.ask("GET", "/v1/models", type=dict)
    assert said in refused.value.message
    assert "--api-key, JAN_API_KEY, or api-key in" in refused.value.message
    assert str(data_folder / ".jan_server/settings.toml") in refused.value.message


def test_the_right_key_lets_in(settings):
    keyed = msgspec.structs.replace(settings, api_key="secret")
    with served(keyed), running_server(keyed) as server:
        assert server.ask("GET", "/v1/models", type=dict)["object"] == "list"


def test_a_server_that_says_nothing_is_an_error(settings, data_folder, monkeypatch):
    monkeypatch.setattr(client, "PATIENCE", 0.2)
    with (
        a_server_that(data_folder, waits_until_we_leave),
        pytest.raises(ServerFailed, match=r"process \d+\) does not answer"),
    ):
        health(settings)


def test_a_server_that_cannot_be_reached_is_an_error(settings, data_folder):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with (
        announced(Store(data_folder).open(), f"http://127.0.0.1:{port}"),
        pytest.raises(ServerFailed, match=f"127.0.0.1:{port} .* cannot be reached"),
    ):
        health(settings)


@pytest.mark.parametrize("body", [b"<html>", b"[]"])
def test_an_answer_that_is_not_understood_is_an_error(settings, data_folder, body):
    with (
        a_server_that(data_folder, answering(body)),
        pytest.raises(ServerFailed, match="answers what this version does not understand"),
    ):
        health(settings)


def test_an_error_without_words_is_told_by_its_status(settings, data_folder):
    with (
        a_server_that(data_folder, answering(b"oops", "500 Oops")),
        pytest.raises(ServerRefused, match="answered with status 500"),
    ):
        health(settings)


def test_a_proxy_of_the_environment_is_not_asked(settings, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with served(settings):
        assert health(settings)["status"] == "ok"
