from __future__ import annotations

import json
import sys
from math import inf

import pytest
from starlette.testclient import TestClient

from jan_server import catalogue
from jan_server.app import create_app
from jan_server.errors import InvalidRequest
from jan_server.settings import Settings
from jan_server.web.requests import DEFAULT_BODY_LIMIT
from tests.conftest import BASE_URL
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def tiny(write, data_folder):
    write(
        "models/tiny/model.json",
        {"name": "Tiny", "settings": {"ctx_len": "128"}, "metadata": {"author": "Me"}, "x": 1},
    )
    write_tiny_gguf(data_folder / "models" / "tiny" / "tiny.gguf")
    return "tiny"


def by_id(answer):
    return {model["id"]: model for model in answer.json()["data"]}


def test_a_model_is_its_manifest_with_openais_fields(client, tiny, data_folder):
    created = int((data_folder / "models/tiny/model.json").stat().st_mtime)
    expected = {
        "name": "Tiny",
        "settings": {"ctx_len": "128"},
        "metadata": {"author": "Me"},
        "x": 1,
        "id": "tiny",
        "state": "downloaded",
        "object": "model",
        "created": created,
        "owned_by": "Me",
        "source_url": "",
        "engine": "llamacpp",
        "parameters": {},
    }
    assert client.get("/v1/models/tiny").json() == expected
    assert client.get("/v1/models").json() == {
        "object": "list",
        "data": [expected],
        "first_id": "tiny",
        "last_id": "tiny",
        "has_more": False,
    }


def test_a_manifest_that_breaks_is_served_as_it_last_was_good(client, tiny, write):
    assert client.get("/v1/models/tiny").json()["name"] == "Tiny"
    write("models/tiny/model.json", '{"name": ')
    answer = client.get("/v1/models/tiny")
    assert (answer.status_code, answer.json()["name"]) == (200, "Tiny")
    assert answer.headers["x-jan-stale"].startswith("models/tiny/model.json:1:")


def test_only_models_that_can_answer_are_listed_unless_all_are_asked_for(client, tiny):
    assert set(by_id(client.get("/v1/models"))) == {"tiny"}
    everything = by_id(client.get("/v1/models", params={"state": "all"}))
    assert set(everything) == {"tiny", *catalogue.load()}
    assert everything["tinyllama-1.1b"]["state"] == "not_downloaded"
    assert client.get("/v1/models", params={"state": "some"}).status_code == 400


def test_a_model_of_the_catalogue_is_known_before_it_is_here(client):
    model = client.get("/v1/models/mistral-ins-7b-q4").json()
    assert (model["state"], model["object"]) == ("not_downloaded", "model")
    assert model["source_url"].startswith("https://huggingface.co/")


def test_where_a_model_is_from_is_the_address_of_its_first_file(client, write):
    sources = [{"url": f"https://x.org/{name}"} for name in ("m.gguf", "n.gguf")]
    write("models/m/model.json", {"sources": sources})
    assert client.get("/v1/models/m").json()["source_url"] == "https://x.org/m.gguf"


def test_an_unknown_model_is_a_404_that_says_what_is_here(client, tiny):
    answer = client.get("/v1/models/nope")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert "Here are: tiny." in answer.json()["message"]


def test_a_weights_file_without_a_manifest_is_a_model(client, data_folder):
    folder = data_folder / "models" / "dropped"
    folder.mkdir()
    write_tiny_gguf(folder / "x.gguf")
    assert client.get("/v1/models/dropped").json()["state"] == "downloaded"


@pytest.mark.parametrize("spelled", ["org/tiny", "org%2Ftiny"])
def test_an_id_may_hold_slashes(client, write, data_folder, spelled):
    write("models/org/tiny/model.json", "{}")
    write_tiny_gguf(data_folder / "models/org/tiny/tiny.gguf")
    assert client.get(f"/v1/models/{spelled}").json()["id"] == "org/tiny"


def test_a_broken_manifest_hides_only_its_model(client, tiny, write):
    write("models/broken/model.json", "{")
    assert set(by_id(client.get("/v1/models"))) == {"tiny"}
    assert client.get("/v1/models/broken").status_code == 500


def test_nothing_is_downloaded_through_a_link(client, tmp_path, data_folder):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/model.json").write_text("{}")
    (data_folder / "models/tinyllama-1.1b").symlink_to(tmp_path / "outside")
    (tmp_path / "outside/model.json").write_text('{"source_url": "https://huggingface.co/a/b"}')
    answer = client.post("/v1/models/download/tinyllama-1.1b")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "lies_outside")


def test_one_odd_manifest_hides_only_its_model(client, tiny, write, data_folder):
    write("models/late/model.json", '{"created": 1' + "0" * 400 + "}")
    write("models/long/model.json", {"sources": [{"filename": "a" * 300 + ".gguf"}]})
    (data_folder / "models/far").mkdir()
    (data_folder / "models/far/w.gguf").symlink_to("/" + "a" * 300 + "/x")
    assert client.get("/v1/models").status_code == 200
    assert set(by_id(client.get("/v1/models"))) == {"tiny"}
    assert client.get("/v1/models/long").json()["state"] == "not_downloaded"


def test_a_model_by_an_engine_nobody_knows_is_listed_as_not_here(client, write):
    write("models/odd/model.json", {"engine": "steam"})
    assert client.get("/v1/models/odd").json()["state"] == "not_downloaded"


def test_a_manifest_with_strings_for_numbers_is_understood(client, write, data_folder):
    path = data_folder / "models/tiny/model.json"
    write("models/tiny/model.json", {"settings": {"ctx_len": "64", "ngl": "0"}})
    assert json.loads(path.read_text())["settings"]["ctx_len"] == "64"
    models = client.app.state.services.models
    write_tiny_gguf(data_folder / "models/tiny/tiny.gguf")
    assert models.spec(models.ready("tiny")).ctx_len == 64


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ({"ctx_len": 64, "ngl": 7, "cpu_threads": 3, "n_parallel": 2}, (64, 7, 3, 2)),
        ({"ngl": -1}, (None, 0, 5, 4)),
        ({}, (None, 0, 5, 4)),
    ],
)
def test_a_model_is_loaded_as_its_manifest_says_else_as_the_server_is_set(
    data_folder, write, manifest, expected
):
    write("models/echo/model.json", {"engine": "echo", "settings": manifest})
    settings = Settings(data_folder=data_folder, watch="off", threads=5, n_parallel=4)
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        models = client.app.state.services.models
        spec = models.spec(models.ready("echo"))
    assert (spec.ctx_len, spec.gpu_layers, spec.threads, spec.slots) == expected


def test_numbers_beyond_any_machine_are_left_out_and_said_once(client, write, data_folder, caplog):
    settings = {"ctx_len": 10**25, "ngl": 10**25, "cpu_threads": 100_000}
    write("models/tiny/model.json", {"settings": settings})
    write_tiny_gguf(data_folder / "models/tiny/tiny.gguf")
    models = client.app.state.services.models
    for _ in range(2):
        spec = models.spec(models.ready("tiny"))
    assert (spec.ctx_len, spec.gpu_layers, spec.threads) == (None, 0, None)
    assert caplog.text.count("model.json of tiny, settings, cpu_threads: left out") == 1


# --- start and stop ----------------------------------------------------------------------------


def chat(client, model, text="hi", **more):
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return client.post("/v1/chat/completions", json=body)


def loaded(client):
    return client.get("/healthz").json()["loaded"]


def state(client, model):
    return client.get(f"/v1/models/{model}").json()["state"]


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_model_is_started_and_stopped(client, echo, method):
    assert state(client, echo) == "downloaded"
    answer = client.request(method, f"/v1/models/{echo}/start")
    assert (answer.status_code, answer.json()) == (
        200,
        {"id": "echo", "object": "model", "state": "running"},
    )
    assert state(client, echo) == "running"
    for _ in range(2):  # Stopping one that is not running is fine.
        answer = client.request(method, f"/v1/models/{echo}/stop")
        assert (answer.status_code, answer.json()) == (
            200,
            {"id": "echo", "object": "model", "state": "stopped"},
        )
        assert (state(client, echo), loaded(client)) == ("stopped", [])
    assert chat(client, echo).status_code == 200
    assert state(client, echo) == "running"


@pytest.mark.parametrize("spelled", ["org/echo", "org%2Fecho"])
def test_an_id_with_slashes_is_started(client, write, spelled):
    write("models/org/echo/model.json", {"engine": "echo"})
    assert client.put(f"/v1/models/{spelled}/start").json()["id"] == "org/echo"
    assert client.put(f"/v1/models/{spelled}/stop").json()["id"] == "org/echo"


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH"])
@pytest.mark.parametrize("verb", ["start", "stop"])
def test_start_and_stop_are_never_a_model_of_that_name(client, echo, method, verb):
    assert client.request(method, f"/v1/models/{echo}/{verb}").status_code == 405


@pytest.mark.parametrize(
    "content",
    [
        b'{"ctx_len": 64, "n_parallel": 3}',
        b'{"ctx_len": "64", "n_parallel": "3"}',
        b'"{\\"ctx_len\\": 64, \\"n_parallel\\": 3}"',
        b' {"ctx_len": 64, "n_parallel": 3, "ngl": 100, "prompt_template": "x", "vision": true}',
    ],
)
@pytest.mark.parametrize("type", ["application/json", "text/plain"])
def test_what_a_start_says_of_loading_holds_until_the_stop(client, echo, content, type):
    headers = {"content-type": type}
    assert client.put(f"/v1/models/{echo}/start", content=content, headers=headers).is_success
    assert loaded(client)[0]["slots"] == 3
    assert chat(client, echo, "word " * 70).json()["error"]["code"] == "context_length_exceeded"
    assert loaded(client)[0]["slots"] == 3
    client.put(f"/v1/models/{echo}/stop")
    assert chat(client, echo, "word " * 70).status_code == 200
    assert loaded(client)[0]["slots"] == 1


def test_all_that_a_start_says_of_loading_goes_before_the_manifest(client, write):
    own = {"ctx_len": 32, "ngl": 1, "cpu_threads": 1, "n_parallel": 1, "keep_alive": 1}
    write("models/m/model.json", {"engine": "echo", "settings": own})
    said = {"ctx_len": 64, "ngl": 7, "cpu_threads": 3, "n_parallel": 2, "keep_alive": "1h"}
    client.put("/v1/models/m/start", json=said)
    models = client.app.state.services.models
    model = models.ready("m")
    spec = models.spec(model)
    assert (spec.ctx_len, spec.gpu_layers, spec.threads, spec.slots) == (64, 7, 3, 2)
    assert models.keep_alive(model) == 3600


def test_null_says_nothing_of_a_start(client, echo):
    body = {"ctx_len": None, "n_parallel": 2}
    assert client.put(f"/v1/models/{echo}/start", json=body).status_code == 200
    assert loaded(client)[0]["slots"] == 2


def test_a_start_with_a_huge_body_is_a_413(client, echo):
    answer = client.put(f"/v1/models/{echo}/start", content=b" " * (DEFAULT_BODY_LIMIT + 1))
    assert (answer.status_code, loaded(client)) == (413, [])


def test_a_start_that_says_nothing_is_as_the_manifest_has_it(client, write):
    settings = {"n_parallel": 2, "keep_alive": "1h"}
    write("models/m/model.json", {"engine": "echo", "settings": settings})
    client.put("/v1/models/m/start", json={"n_parallel": 4, "keep_alive": 10})
    assert loaded(client)[0]["slots"] == 4
    client.put("/v1/models/m/start", json={})
    [m] = loaded(client)
    assert (m["slots"], m["expires_in"]) == (2, pytest.approx(3600, abs=60))


def test_unknown_settings_of_a_start_are_ignored_and_logged(client, echo, caplog):
    assert client.put(f"/v1/models/{echo}/start", json={"vision": True}).status_code == 200
    assert "a model is started with 'vision', which says nothing here" in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("ctx_len", "x", "expected `int | null`, got `str`"),
        ("n_parallel", 0, "expected `int` >= 1"),
        ("keep_alive", "soon", "'soon' is no duration such as 30s, 5m, 1h30m, 0 or -1"),
    ],
)
def test_a_wrong_setting_of_a_start_is_a_400_that_names_it(client, echo, name, value, reason):
    answer = client.put(f"/v1/models/{echo}/start", json={"cpu_threads": "2", name: value})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, f"$.{name}")
    assert error["message"] == f"$.{name}: {reason}."
    assert loaded(client) == []


@pytest.mark.parametrize("content", [b"{", b"[]", b"3", b'"x"', b'"', b'"[]"'])
def test_a_start_with_another_body_is_a_400(client, echo, content):
    assert client.put(f"/v1/models/{echo}/start", content=content).status_code == 400
    assert loaded(client) == []


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "multipart/form-data; boundary=x"}, {"content-encoding": "gzip"}],
)
def test_a_start_with_a_form_or_a_packed_body_is_a_415(client, echo, headers):
    answer = client.put(f"/v1/models/{echo}/start", content=b"{}", headers=headers)
    assert answer.status_code == 415
    assert loaded(client) == []


@pytest.mark.parametrize(
    ("id", "verb", "status", "code"),
    [
        ("nope", "start", 404, "model_not_found"),
        ("nope", "stop", 404, "model_not_found"),
        ("tinyllama-1.1b", "start", 404, "model_not_downloaded"),
        ("tinyllama-1.1b", "stop", 200, None),
        ("odd", "start", 422, "model_cannot_run"),
        ("..", "start", 400, "invalid_id"),
    ],
)
def test_what_cannot_be_started_or_stopped(client, write, id, verb, status, code):
    write("models/odd/model.json", {"engine": "steam"})
    answer = client.put(f"/v1/models/{id.replace('.', '%2E') if id == '..' else id}/{verb}")
    assert (answer.status_code, answer.json().get("error", {}).get("code")) == (status, code)


def test_a_start_that_fails_leaves_nothing_behind(client, echo, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/nonexistent/python")
        answer = client.put(f"/v1/models/{echo}/start", json={"ctx_len": 64})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_died")
    assert chat(client, echo, "word " * 70).status_code == 200


def test_a_page_of_another_site_starts_and_stops_nothing(client, echo):
    for verb in ("start", "stop"):
        for method in ("PUT", "POST"):
            answer = client.request(
                method, f"/v1/models/{echo}/{verb}", headers={"origin": "https://evil.example"}
            )
            assert answer.status_code == 403
    assert (loaded(client), state(client, echo)) == ([], "downloaded")


def test_a_read_only_server_starts_and_stops(data_folder, echo):
    settings = Settings(data_folder=data_folder, watch="off", read_only=True)
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        assert client.put(f"/v1/models/{echo}/start").json()["state"] == "running"
        assert client.put(f"/v1/models/{echo}/stop").json()["state"] == "stopped"


def test_the_servers_own_settings_are_for_models_that_say_nothing(data_folder, write):
    write("models/plain/model.json", {"engine": "echo"})
    write("models/own/model.json", {"engine": "echo", "settings": {"n_parallel": "2"}})
    settings = Settings(data_folder=data_folder, watch="off", n_parallel=3, keep_alive=50)
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        for id in ("own", "plain"):
            client.put(f"/v1/models/{id}/start")
        assert [model["slots"] for model in loaded(client)] == [2, 3]
        assert loaded(client)[1]["expires_in"] == pytest.approx(50, abs=20)


@pytest.mark.parametrize(
    ("asked", "seconds"), [(None, 60), (5, 5), ("2m", 120), (-1, inf), ("0", 0)]
)
def test_the_requests_keep_alive_goes_before_the_manifests(client, write, asked, seconds):
    write("models/m/model.json", {"engine": "echo", "settings": {"keep_alive": "1m"}})
    models = client.app.state.services.models
    assert models.keep_alive(models.ready("m"), asked) == seconds


def test_a_keep_alive_that_is_none_is_a_400(client, echo):
    models = client.app.state.services.models
    with pytest.raises(InvalidRequest, match="'soon' is no duration") as caught:
        models.keep_alive(models.ready(echo), "soon")
    assert caught.value.param == "$.keep_alive"


def test_weights_replaced_while_loaded_are_loaded_anew(client, tiny, data_folder):
    path = data_folder / "models/tiny/tiny.gguf"
    client.put(f"/v1/models/{tiny}/start")

    def answer():
        told = chat(client, tiny, temperature=0, max_tokens=20).json()
        return told["choices"][0]["message"]["content"]

    first = answer()
    write_tiny_gguf(path, seed=1)
    assert answer() != first
    write_tiny_gguf(path, seed=0)
    assert answer() == first


def test_weights_deleted_while_loaded_are_a_404_that_says_so(client, tiny, data_folder):
    client.put(f"/v1/models/{tiny}/start")
    (data_folder / "models/tiny/tiny.gguf").unlink()
    answer = chat(client, tiny)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_file_not_found")
    assert client.put(f"/v1/models/{tiny}/stop").status_code == 200
    assert state(client, tiny) == "not_downloaded"
