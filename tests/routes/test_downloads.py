"""Downloads over HTTP: started, watched, stopped, gone on with by the next server."""

from __future__ import annotations

import time

import pytest

from tests.downloads.conftest import hub as hub
from tests.downloads.hub import (
    ADDRESS,
    PATH,
    PATIENCE,
    SUM,
    WEIGHTS,
    Answer,
    Fault,
    manifest,
)
from tests.tiny_gguf import write_tiny_gguf

SIZE = len(WEIGHTS)


@pytest.fixture
def slow(hub, write):
    """The model `m` can be got, within some seconds."""
    hub.answers[PATH] = Answer(pace=0.2)
    write("models/m/model.json", manifest())


@pytest.fixture
def tiny(write, data_folder):
    write("models/tiny/model.json", {})
    write_tiny_gguf(data_folder / "models/tiny/tiny.gguf")


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)
    return found


def model(client, id="m"):
    return client.get(f"/v1/models/{id}").json()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_download_of_what_is_here_starts_nothing(client, tiny, method):
    answer = client.request(method, "/v1/models/download/tiny")
    assert answer.json() == {"message": "tiny is here or on its way already", "id": "tiny"}


def test_a_failure_is_logged_and_shown_until_the_next_try(client, write, caplog, hub):
    write("models/m/model.json", {"sources": [{"url": ADDRESS}]})
    answer = client.get("/v1/models/download/m")
    assert answer.json() == {"message": "Starting download m", "id": "m"}
    client.app.state.services.downloads.wait("m", PATIENCE)
    assert "answered 404: there is no such file" in caplog.text
    assert model(client)["state"] == "not_downloaded"
    assert "answered 404: there is no such file" in model(client)["download_error"]
    shown = client.get("/v1/download/getDownloadProgress/m").json()
    assert (shown["downloadState"], shown["error"]) == ("error", model(client)["download_error"])
    hub.answers[PATH] = Answer()
    client.get("/v1/models/download/m")
    wait_for(lambda: model(client)["state"] == "downloaded")
    assert "download_error" not in model(client)


def test_a_model_that_names_no_address_is_not_downloaded(client, write, data_folder):
    write("models/bare/model.json", {"engine": "nitro"})
    answer = client.post("/v1/models/download/bare")
    assert answer.status_code == 404
    assert f"put a .gguf into {data_folder / 'models/bare'}" in answer.json()["message"]


def test_head_of_a_download_starts_nothing(client):
    assert client.head("/v1/models/download/tinyllama-1.1b").status_code == 204


def test_a_download_is_shown_while_it_runs(client, slow):
    assert client.post("/v1/models/download/m").json()["message"] == "Starting download m"
    wait_for(lambda: model(client).get("download", {}).get("bytes"))
    found = client.get("/v1/models/m")
    assert found.json()["state"] == "downloading"
    download = found.json()["download"]
    assert download.pop("rate") > 0
    done = download.pop("bytes")
    assert 0 < done < SIZE
    assert download == {
        "id": "m", "object": "model.download", "state": "downloading", "file": "m.gguf",
        "total": SIZE,
    }  # fmt: skip
    wait_for(lambda: model(client)["download"]["bytes"] > done)
    since = client.get("/v1/models/m", headers={"If-None-Match": found.headers["etag"]})
    assert since.status_code == 200
    jans = client.get("/v1/download/getDownloadProgress/m").json()
    assert (jans["modelId"], jans["fileName"], jans["downloadState"]) == (
        "m", "m.gguf", "downloading",
    )  # fmt: skip
    assert jans["size"]["total"] == SIZE
    assert jans["percent"] == jans["size"]["transferred"] / SIZE
    assert jans["time"]["remaining"] > 0
    again = client.get("/v1/models/download/m")
    assert again.json() == {"message": "m is here or on its way already", "id": "m"}
    client.delete("/v1/models/download/m")


def test_a_stop_frees_what_is_there(client, slow, data_folder):
    client.post("/v1/models/download/m")
    wait_for(lambda: model(client).get("download", {}).get("bytes"))
    answer = client.delete("/v1/models/download/m")
    assert answer.status_code == 200
    told = answer.json()
    assert 0 < told.pop("freed") < SIZE
    assert told == {"id": "m", "object": "model.download", "deleted": True}
    assert model(client)["state"] == "not_downloaded"
    assert list((data_folder / ".jan_server/downloads").iterdir()) == []
    missing = client.delete("/v1/models/download/m")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "download_not_found")


def test_what_a_failed_download_left_can_be_dropped(client, hub, write, data_folder):
    hub.answers[PATH] = Answer(fault=Fault(kind="status", at=SIZE // 2, status=404))
    write("models/m/model.json", manifest())
    client.post("/v1/models/download/m")
    client.app.state.services.downloads.wait("m", PATIENCE)
    assert "download_error" in model(client)
    assert client.delete("/v1/models/download/m").json()["freed"] == SIZE // 2
    assert "download_error" not in model(client)
    assert list((data_folder / ".jan_server/downloads").iterdir()) == []


def test_a_stop_of_an_unknown_model_is_a_404(client):
    assert client.delete("/v1/models/download/nope").json()["error"]["code"] == "model_not_found"


def test_progress_of_what_is_not_downloaded_is_jans_404(client):
    answer = client.get("/v1/download/getDownloadProgress/org/nope")
    assert (answer.status_code, answer.json()["message"]) == (404, "Download progress not found")


def test_the_verified_sum_is_recorded(client, hub, write, data_folder):
    hub.answers[PATH] = Answer()
    write("models/m/model.json", manifest())
    client.post("/v1/models/download/m")
    wait_for(lambda: model(client)["state"] == "downloaded")
    sums = client.app.state.services.store.sums
    assert sums.of(data_folder / "models/m/m.gguf").sha256 == SUM
