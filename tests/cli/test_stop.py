from __future__ import annotations

import json
from functools import partial

import httpx2
import pytest

from jan_server.settings import Settings
from tests.running import served


@pytest.fixture
def run(run, data_folder):
    return partial(run, "stop", "--data-folder", str(data_folder))


@pytest.fixture
def url(data_folder, echo):
    """Of a server."""
    with served(Settings(data_folder=data_folder, fsync=False)) as url:
        yield url


def loaded(url):
    return httpx2.get(f"{url}/healthz", timeout=60).json()["models"]


def start(url):
    httpx2.post(f"{url}/v1/models/echo/start", timeout=60).raise_for_status()
    assert loaded(url) == ["echo"]


def test_a_loaded_model_is_unloaded(run, url):
    start(url)
    done = run("echo")
    assert (done.exit_code, done.stdout, loaded(url)) == (0, "echo is unloaded.\n", [])
    assert run("echo").stdout == "echo was not loaded.\n"


def test_a_shorter_name_does_too(run, url, write):
    write("models/echo/model.json", {"engine": "echo", "aliases": ["ec"]})
    start(url)
    assert (run("ec").stdout, loaded(url)) == ("echo is unloaded.\n", [])


def test_json_says_whether_it_was_loaded(run, url):
    start(url)
    expected = {"id": "echo", "was_loaded": True, "server": url}
    assert json.loads(run("echo", "--json").stdout) == expected
    assert json.loads(run("echo", "--json").stdout) == {**expected, "was_loaded": False}


def test_an_unknown_model_is_a_failure_with_or_without_a_server(run, write, data_folder):
    write("models/echo/model.json", {"engine": "echo"})
    alone = run("nope")
    with served(Settings(data_folder=data_folder, fsync=False)):
        asked = run("nope")
    for done in (alone, asked):
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith("jan_server: No model has the id 'nope'. Here are: echo.")


def test_without_a_server_it_says_so(run, echo, data_folder):
    done = run("echo")
    assert (done.exit_code, done.stdout) == (
        0,
        f"No server runs on {data_folder}, so nothing is loaded.\n",
    )
    assert json.loads(run("echo", "--json").stdout) == {
        "id": "echo",
        "was_loaded": False,
        "server": None,
    }


def test_the_key_is_said_by_flag_environment_or_settings_file(
    run, data_folder, echo, monkeypatch, write
):
    with served(Settings(data_folder=data_folder, fsync=False, api_key="secret")):
        refused = run("echo")
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "demands its API key" in refused.stderr
        assert "demands another API key" in run("echo", "--api-key", "other").stderr
        assert run("echo", "--api-key", "secret").exit_code == 0
        monkeypatch.setenv("JAN_API_KEY", "secret")
        assert run("echo").exit_code == 0
        monkeypatch.delenv("JAN_API_KEY")
        write(".jan_server/settings.toml", 'api-key = "secret"')
        assert run("echo").exit_code == 0
