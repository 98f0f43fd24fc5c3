"""The data folder of every generation of Jan is read, and stays as it is.

`layouts/<generation>/data` is a folder as that Jan left it, `expected.json` beside it what is
listed; its weights are made here, tiny ones that run. `/DATA` in a file is the folder itself.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from starlette.testclient import TestClient

from jan_server import catalogue
from jan_server.settings import Settings
from tests.api import Api
from tests.conftest import tree
from tests.running import served
from tests.tiny_gguf import write_tiny_gguf

LAYOUTS = Path(__file__).parent / "layouts"
GENERATIONS = sorted(path.name for path in LAYOUTS.iterdir())


class Expected(msgspec.Struct):
    about: str
    weights: list[str]
    models: dict[str, dict[str, Any]]
    threads: list[str]
    assistants: list[str]


@pytest.fixture(params=GENERATIONS)
def expected(request: pytest.FixtureRequest, data_folder: Path) -> Expected:
    """What is listed of a folder of that generation, which the data folder is a copy of."""
    layout = LAYOUTS / request.param
    shutil.copytree(layout / "data", data_folder)
    expected = msgspec.json.decode((layout / "expected.json").read_bytes(), type=Expected)
    made = write_tiny_gguf(data_folder.parent / "tiny.gguf")
    for name in expected.weights:
        (data_folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made, data_folder / name)
    for path in data_folder.rglob("*"):
        if path.suffix in (".json", ".yml", ".janrc") and b"/DATA" in (raw := path.read_bytes()):
            path.write_bytes(raw.replace(b"/DATA", str(data_folder).encode()))
    return expected


def listed(client: TestClient, query: str = "") -> dict[str, Any]:
    return {model["id"]: model for model in client.get(f"/v1/models{query}").json()["data"]}


def address(id: str) -> str:
    return f"/v1/models/{quote(id, safe='/')}"


def test_all_models_are_listed_as_they_are(expected, client, data_folder):
    everything = listed(client, "?state=all")
    assert expected.models.keys() <= everything.keys()
    others = [model for id, model in everything.items() if id not in expected.models]
    assert {model["state"] for model in others} == {"not_downloaded"}
    ready = {id for id, known in expected.models.items() if known["state"] == "downloaded"}
    assert listed(client).keys() == ready
    models = client.app.state.services.models
    for id, known in expected.models.items():
        model = client.get(address(id)).json()
        assert model == everything[id]
        assert model["id"] == id
        path = models.get(id).weights
        weights = str(path.relative_to(data_folder)) if path else None
        shown = {**model, "weights": weights}
        for key, value in known.items():
            if isinstance(value, dict):
                assert {**shown[key], **value} == shown[key], (id, key)
            else:
                assert shown[key] == value, (id, key)


def test_threads_and_assistants_are_listed(expected, client):
    assert [thread["id"] for thread in client.get("/v1/threads").json()] == expected.threads
    assert [one["id"] for one in client.get("/v1/assistants").json()] == expected.assistants


def test_reading_chatting_starting_and_stopping_change_nothing(expected, client, data_folder):
    before = tree(data_folder)
    for id in listed(client):
        assert client.get(address(id)).status_code == 200
    for id in expected.models:
        client.get(address(id))
    [id, *_] = [id for id in listed(client) if "split" not in id]
    for path in (address(id), f"/v1/models/{quote(id, safe='')}"):
        assert client.put(f"{path}/start").json()["state"] == "running"
    said = {"model": id, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    answer = client.post("/v1/chat/completions", json=said).json()
    assert answer["usage"]["completion_tokens"] > 0
    assert client.put(f"{address(id)}/stop").json()["state"] == "stopped"
    for thread in expected.threads:
        assert client.get(f"/v1/threads/{thread}/messages").status_code == 200
    client.get("/v1/diagnostics?models=true")
    assert tree(data_folder) == before


def test_what_is_deleted_and_restored_is_as_it_was(expected, client, data_folder):
    before = tree(data_folder)
    for id in listed(client):
        known = client.get(address(id)).json()
        deleted = client.delete(address(id))
        assert deleted.status_code == 200, deleted.json()
        assert client.get(address(id)).json() != known
        [deletion] = client.get("/v1/trash").json()["data"]
        restored = client.post(f"/v1/trash/{deletion['id']}/restore").json()
        if id == "stray":  # It comes back into a folder of its own.
            assert (data_folder / "models/stray/stray.gguf").exists()
            shutil.move(data_folder / "models/stray/stray.gguf", data_folder / "models")
            (data_folder / "models/stray").rmdir()
        else:
            assert restored["resource_id"] == id
        assert {**client.get(address(id)).json(), "created": 0} == {**known, "created": 0}
        assert client.get("/v1/trash").json()["data"] == []
    assert tree(data_folder) == before


@pytest.mark.parametrize("now", ["false", "true"])
def test_a_removal_accounts_for_each_file_that_goes(expected, client, data_folder, now):
    while ids := list(listed(client)):
        before = tree(data_folder)
        removed = client.delete(address(ids[0]), params={"now": now}).json()
        fates = {file["path"]: file["fate"] for file in removed["files"]}
        gone = before.keys() - tree(data_folder).keys()
        assert gone == {path for path, fate in fates.items() if fate != "kept"}, ids[0]
        assert all((data_folder / path).exists() for path, fate in fates.items() if fate == "kept")
        freed = {path for path, fate in fates.items() if fate == "freed"}
        assert freed == (gone & {*expected.weights} if now == "true" else set())
        assert len(listed(client)) < len(ids)  # Another may have that id now, or lack its weights.


def test_a_change_in_any_layout_is_told(tmp_path):
    with (
        served(Settings(data_folder=tmp_path / "jan", fsync=False)) as base,
        Api(base, tmp_path / "jan") as api,
        api.events() as events,
    ):
        made = api.made("models/imported", {"x.yml": b"model: m\nfiles: []\n"})
        events.until("model created m")
        assert api.get("/models/m")["state"] == "not_downloaded"
        (made / "x.gguf").write_bytes(b"GGUF")
        events.until("model updated m")
        # Today's Jan makes its folder when it first comes to this one.
        api.made("llamacpp/models/org/name", {"model.yml": b"model_path: x\n"})
        wait_until(lambda: "org/name" in ids(api))
        (api.root / "llamacpp/models/org/name/model.gguf").write_bytes(b"GGUF")
        events.until("model updated org/name")
        (api.root / "models/stray.gguf").write_bytes(b"GGUF")
        events.until("model created stray")
        shutil.rmtree(made)
        events.until("model deleted m")
        assert ids(api) == {"org/name", "stray"}


def ids(api: Api) -> set[str]:
    found = api.get("/models?state=all")["data"]
    return {model["id"] for model in found if model["id"] not in catalogue.load()}


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
