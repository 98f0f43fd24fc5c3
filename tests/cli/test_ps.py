from __future__ import annotations

import json
from functools import partial

import httpx2
import pytest

from jan_server.settings import Settings
from tests.running import served


@pytest.fixture
def run(run, data_folder):
    return partial(run, "ps", "--data-folder", str(data_folder))


def test_without_a_server_nothing_is_loaded(run, echo, data_folder):
    done = run()
    assert (done.exit_code, done.stdout) == (
        0,
        f"No server runs on {data_folder}, so nothing is loaded.\n",
    )
    assert json.loads(run("--json").stdout) == []


def test_a_server_may_have_nothing_loaded(run, data_folder):
    with served(Settings(data_folder=data_folder, fsync=False)) as url:
        assert run().stdout == f"The server at {url} has nothing loaded.\n"


@pytest.mark.parametrize(
    ("keep_alive", "until"), [("2h", ["in", "2.0", "h"]), ("-1", ["in", "use", "or", "kept"])]
)
def test_what_is_loaded_is_shown_with_its_time(run, echo, data_folder, keep_alive, until):
    with served(Settings(data_folder=data_folder, fsync=False)) as url:
        body = {"keep_alive": keep_alive, "n_parallel": 2}
        httpx2.post(f"{url}/v1/models/echo/start", json=body, timeout=60).raise_for_status()
        [names, row] = run().stdout.splitlines()
        assert names.split() == ["ID", "STATE", "ENGINE", "DEVICE", "MEMORY", "SLOTS", "UNTIL"]
        assert row.split() == [
            "echo",
            "running",
            "echo",
            "nothing",
            "0",
            "B",
            "0",
            "of",
            "2",
            *until,
        ]
        [found] = json.loads(run("--json").stdout)
    assert {key: found[key] for key in ("id", "state", "slots", "busy", "waiting")} == {
        "id": "echo",
        "state": "running",
        "slots": 2,
        "busy": 0,
        "waiting": 0,
    }


def test_a_key_is_not_needed_for_it(run, echo, data_folder):
    with served(Settings(data_folder=data_folder, fsync=False, api_key="secret")):
        assert "nothing loaded" in run().stdout
