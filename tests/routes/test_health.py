from __future__ import annotations

import pytest

from jan_server import __version__


def test_health_says_what_is_loaded_and_how_it_is(client, echo):
    assert client.get("/healthz").json() == {
        "status": "ok",
        "version": __version__,
        "models": [],
        "loaded": [],
    }
    client.post(f"/v1/models/{echo}/start", json={"n_parallel": 2, "keep_alive": 100})
    answer = client.get("/healthz").json()
    assert answer["models"] == ["echo"]
    [loaded] = answer["loaded"]
    assert loaded.pop("expires_in") == pytest.approx(100, abs=30)
    assert loaded == {
        "id": "echo",
        "state": "running",
        "engine": "echo",
        "device": "nothing",
        "slots": 2,
        "busy": 0,
        "waiting": 0,
        "memory": 0,
    }


def test_a_model_that_nobody_says_more_of_stays_a_quarter_of_an_hour(client, echo):
    client.post(f"/v1/models/{echo}/start")
    [loaded] = client.get("/healthz").json()["loaded"]
    assert loaded["expires_in"] == pytest.approx(900, abs=30)


def test_a_model_that_is_kept_for_ever_has_no_time_to_go(client, echo):
    client.post(f"/v1/models/{echo}/start", json={"keep_alive": -1})
    assert client.get("/healthz").json()["loaded"][0]["expires_in"] is None
