"""Downloads over HTTP: started, watched, stopped, gone on with by the next server."""

from __future__ import annotations

import json
import time

import pytest

from tests.api import Api
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
from tests.running import Command, served
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
    assert "download" not in model(client)
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
    here, speed = jans["size"]["transferred"], jans["speed"]
    assert jans["percent"] == here / SIZE
    assert jans["time"] == {"elapsed": here / speed, "remaining": (SIZE - here) / speed}
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


def test_weights_in_the_trash_give_way(client, hub, write, monkeypatch):
    hub.answers[PATH] = Answer()
    write("models/m/model.json", manifest(size=SIZE))
    asked = []
    monkeypatch.setattr(client.app.state.services.store, "make_room", asked.append)
    client.post("/v1/models/download/m")
    wait_for(lambda: model(client)["state"] == "downloaded")
    client.post("/v1/models/download/m")  # It is here: it needs none.
    assert asked == [SIZE]


# --- what the hub has ------------------------------------------------------------------------


def test_a_repository_of_the_hub_becomes_a_model(client, hub, data_folder):
    hub.offer("org/Repo-GGUF", {"m.Q8_0.gguf": b"large", "m.Q4_K_M.gguf": WEIGHTS})
    answer = client.post("/v1/models/download/org/Repo-GGUF")
    assert answer.json() == {"message": "Starting download org/Repo-GGUF", "id": "org/Repo-GGUF"}
    wait_for(lambda: model(client, "org/Repo-GGUF")["state"] == "downloaded")
    folder = data_folder / "models/org/Repo-GGUF"
    assert (folder / "m.Q4_K_M.gguf").read_bytes() == WEIGHTS
    written = json.loads((folder / "model.json").read_text())
    assert written["sources"][0]["sha256"] == SUM
    again = client.post("/v1/models/download/org/Repo-GGUF").json()["message"]
    assert again == "org/Repo-GGUF is here or on its way already"


def test_all_parts_of_a_split_model_are_got(client, hub, data_folder):
    parts = {f"q/m-Q8_0-0000{n}-of-00002.gguf": WEIGHTS[n:] for n in (1, 2)}
    hub.offer("org/repo", {**parts, "m.Q4_0.gguf": b"small"})
    answer = client.get("/v1/models/download/org/repo:Q8_0")
    assert answer.json()["id"] == "org/m-Q8_0"
    wait_for(lambda: model(client, "org/m-Q8_0")["state"] == "downloaded")
    found = {path.name for path in (data_folder / "models/org/m-Q8_0").iterdir()}
    assert found == {"model.json", *(name.rpartition("/")[2] for name in parts)}
    assert model(client, "org/m-Q8_0")["parts"] == sorted(found - {"model.json"})


def test_what_is_got_is_known_by_its_record_before_it_is_here(client, hub):
    hub.offer("org/repo", {"m.gguf": WEIGHTS})
    hub.answers["/org/repo/resolve/main/m.gguf"].pace = 0.2
    client.post("/v1/models/download/org/repo")
    found = model(client, "org/repo")
    assert (found["state"], found["download"]["id"]) == ("downloading", "org/repo")
    again = client.post("/v1/models/download/org/repo:m.gguf").json()
    assert again["id"] == "org/m"  # Asked for by its name it is another model.
    assert client.delete("/v1/models/download/org/m").status_code == 200
    assert client.delete("/v1/models/download/org/repo").status_code == 200
    assert client.get("/v1/models/org/repo").status_code == 404


def test_the_choices_are_said_where_nothing_fits(client, hub):
    hub.offer("org/repo", {"a.Q4_0.gguf": b"a", "b.Q4_0.gguf": b"b"})
    answer = client.post("/v1/models/download/org/repo")
    assert answer.status_code == 404
    assert "There are: a.Q4_0.gguf, b.Q4_0.gguf." in answer.json()["message"]
    assert client.get("/v1/models/org/repo").status_code == 404


def test_what_neither_we_nor_the_hub_know_is_an_error(client, hub):
    answer = client.post("/v1/models/download/org/nope")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "download_failed")
    assert "answered 404" in answer.json()["message"]


def test_another_model_of_that_id_is_not_replaced(client, hub, write):
    hub.offer("org/repo", {"m.Q4_0.gguf": WEIGHTS, "n.Q8_0.gguf": b"n"})
    write("models/org/m.Q4_0/model.json", {"sources": [{"url": ADDRESS, "sha256": "0" * 64}]})
    answer = client.post("/v1/models/download/org/repo:Q4_0")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_exists")


# --- servers ---------------------------------------------------------------------------------


def test_events_tell_how_far_a_download_is(settings, slow, data_folder):
    with served(settings) as base, Api(base, data_folder) as api, api.events() as events:
        api.answer("/models/download/m", "POST")
        told = events.until("download created m", "model updated m")
        while told[-1].get("download", {}).get("state") != "done":
            seen = len(told)
            events.until("download updated m")
            assert len(told) > seen
    downloads = [event["download"] for event in told if event["kind"] == "download"]
    states = list(dict.fromkeys(one["state"] for one in downloads))
    assert states == ["queued", "downloading", "publishing", "done"]
    assert downloads[-1]["total"] == SIZE
    running = [one for one in downloads if one["state"] == "downloading"]
    assert 2 <= len(running) < 20


def test_the_next_server_goes_on_with_what_ran(settings, slow, data_folder, hub):
    with served(settings) as base, Api(base, data_folder) as api:
        api.answer("/models/download/m", "POST")
        wait_for(lambda: api.get("/models/m").get("download", {}).get("bytes"))
    record = json.loads((data_folder / ".jan_server/downloads/@m.json").read_text())
    assert record["status"] == "downloading"
    hub.asked.clear()
    hub.answers[PATH].pace = 0.0
    with served(settings) as base, Api(base, data_folder) as api:
        wait_for(lambda: api.get("/models/m")["state"] == "downloaded")
    assert hub.gets() == [f"bytes={record['files'][0]['on_disk']}-"]
    assert (data_folder / "models/m/m.gguf").read_bytes() == WEIGHTS


def test_pull_beside_a_server_follows_it_and_ends_with_the_same_file(
    settings, slow, data_folder, hub
):
    with served(settings) as base, Api(base, data_folder) as api:
        api.answer("/models/download/m", "POST")
        wait_for(lambda: api.get("/models/m").get("download", {}).get("bytes"))
        hub.answers[PATH].pace = 5.0
        with Command("pull", "m", "--data-folder", data_folder) as command:
            assert "Getting m from" in command.process.stderr.readline()
            hub.answers[PATH].pace = 0.0
            _, said = command.process.communicate(timeout=4 * PATIENCE)
    assert "m is here, whole and verified" in said
    assert hub.gets() == [""]
    assert (data_folder / "models/m/m.gguf").read_bytes() == WEIGHTS


def test_what_cannot_go_on_is_logged_and_hinders_no_server(
    settings, data_folder, tmp_path, write, caplog
):
    (tmp_path / "far").mkdir()
    (data_folder / "models").mkdir(parents=True)
    (data_folder / "models/far").symlink_to(tmp_path / "far")
    (tmp_path / "far/model.json").write_text("{}")
    record = {"id": "far", "status": "queued", "started": "", "updated": "", "pid": 1}
    write(".jan_server/downloads/@far.json", record)
    with served(settings):
        wait_for(lambda: "Download of far cannot go on" in caplog.text)


def test_a_file_that_is_known_by_its_sum_is_not_got_again_under_its_name_there(
    client, hub, write, data_folder
):
    hub.offer("org/repo", {"m.Q4_0.gguf": WEIGHTS})
    write("models/org/m.Q4_0/model.json", {"sources": [{"url": ADDRESS, "sha256": SUM}]})
    write_tiny_gguf(data_folder / "models/org/m.Q4_0/m.gguf")
    answer = client.post("/v1/models/download/org/repo:Q4_0")
    assert answer.json()["message"] == "org/m.Q4_0 is here or on its way already"
