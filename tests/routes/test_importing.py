from __future__ import annotations

import asyncio

import pytest
from starlette.testclient import TestClient

from jan_server.app import create_app
from jan_server.settings import Settings
from jan_server.types.importing import ImportRequest
from tests.conftest import BASE_URL, tree
from tests.importing.conftest import small_gguf, split_gguf

REFUSED = "not_importable"


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


@pytest.fixture
def model(outside):
    return small_gguf(outside / "m.gguf", general_name="Tiny")


def bring(client, body, **headers):
    return client.post("/v1/models/import", json=body, headers=headers)


def code(answer):
    return answer.status_code, answer.json()["error"]["code"]


def test_jans_own_request_makes_a_link(client, model, data_folder):
    body = {"model": "org/m", "modelPath": str(model), "name": "Mine", "option": "symlink"}
    answer = bring(client, body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "id": "org/m",
        "object": "model",
        "imported": True,
        "mode": "link",
        "files": [{"path": str(model), "bytes": model.stat().st_size}],
    }
    shown = client.get("/v1/models/org/m").json()
    assert (shown["name"], shown["state"]) == ("Mine", "downloaded")
    assert [path.name for path in (data_folder / "models/org/m").iterdir()] == ["model.json"]


@pytest.mark.parametrize(
    "body",
    [
        {"modelPath": "{}"},
        {"path": "{}", "mode": "copy"},
        {"path": "{}", "modelPath": "{}", "option": "copy", "mode": "copy", "id": "m"},
    ],
)
def test_a_copy_is_made_unless_a_link_is_asked_for(client, model, data_folder, body):
    body = {key: value.format(model) for key, value in body.items()}
    answer = bring(client, body).json()
    assert (answer["id"], answer["mode"]) == ("m", "copy")
    assert (data_folder / "models/m/m.gguf").read_bytes() == model.read_bytes()


def test_parts_and_a_projector_go_along(client, outside, data_folder):
    parts = split_gguf(outside)
    projector = small_gguf(outside / "mmproj.gguf", architecture="clip")
    answer = bring(client, {"path": str(parts[2]), "mmproj": str(projector)}).json()
    assert [file["path"] for file in answer["files"]] == [
        *(f"models/big/{part.name}" for part in parts),
        "models/big/mmproj.gguf",
    ]
    assert client.get("/v1/models/big").json()["mmproj"] == "mmproj.gguf"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "$.modelPath"),
        ({"modelPath": ""}, "$.modelPath"),
        ({"modelPath": "/a", "path": "/b"}, "$.modelPath"),
        ({"modelPath": 1}, "$.modelPath"),
        ({"modelPath": "/a", "option": "move"}, "$.option"),
        ({"modelPath": "/a", "mode": "move"}, "$.mode"),
        ({"modelPath": "/a", "mode": "copy", "option": "symlink"}, "$.option"),
    ],
)
def test_a_malformed_request_is_a_400_and_no_request_moves(client, model, body, param):
    answer = bring(client, body)
    assert (*code(answer), answer.json()["error"]["param"]) == (400, "invalid_request", param)


def test_an_id_is_checked_and_never_overwritten(client, model, data_folder):
    body = {"modelPath": str(model)}
    assert code(bring(client, body | {"model": "../x"})) == (400, "invalid_id")
    assert code(bring(client, body | {"model": "x", "id": "y"})) == (400, "invalid_request")
    assert bring(client, body).status_code == 200
    before = tree(data_folder)
    for option in ("copy", "symlink"):
        assert code(bring(client, body | {"option": option})) == (409, "already_exists")
    assert tree(data_folder) == before


def test_whatever_is_no_gguf_gets_the_same_answer(
    client, outside, model, data_folder, caplog, monkeypatch
):
    """What lies on this machine is not told to whoever asks: nor that something is there."""
    monkeypatch.chdir(outside)  # Where a relative path would lead to the model.
    (outside / "secret.txt").write_text("top secret")
    (outside / "cut.gguf").write_bytes(model.read_bytes()[:-1])
    (outside / "folder").mkdir()
    small_gguf(outside / "lora.gguf", general_type="adapter")
    small_gguf(outside / "big-00001-of-00002.gguf")
    paths = [
        *("/etc/passwd", "/dev/zero", "/proc/self/mem", "/nothing/there", "~/m.gguf", "m.gguf"),
        *(outside, outside / "secret.txt", outside / "cut.gguf", outside / "folder"),
        *(outside / "lora.gguf", outside / "big-00001-of-00002.gguf", outside / "gone.gguf"),
        *(f"{outside}/../outside/m.gguf", f"{model}\0", f"{model}/", "/" + "a" * 5000, "//"),
    ]
    answers = [bring(client, {"modelPath": str(path)}) for path in paths]
    assert {answer.text for answer in answers} == {answers[0].text}
    assert code(answers[0]) == (400, REFUSED)
    assert "secret" not in answers[0].text
    assert "adapter" in caplog.text  # Who runs the server is told.
    assert tree(data_folder) == {}
    body = {"modelPath": str(model), "mmproj": str(outside / "secret.txt")}
    assert bring(client, body).text == answers[0].text


def test_a_foreign_page_may_not_import(client, model):
    answer = bring(client, {"modelPath": str(model)}, origin="https://evil.example")
    assert code(answer) == (403, "origin_not_allowed")


def test_a_read_only_server_imports_nothing(data_folder, model, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data_folder.mkdir()
    settings = Settings(data_folder=data_folder, read_only=True, watch="off")
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        assert code(bring(client, {"modelPath": str(model)})) == (403, "read_only")


def answered(data_folder, body, **settings):
    chosen = Settings(data_folder=data_folder, fsync=False, watch="off", **settings)
    with TestClient(create_app(chosen), base_url=BASE_URL) as client:
        headers = {"authorization": "Bearer k"} if chosen.api_key else {}
        return bring(client, body, **headers)


OPEN = {"host": "0.0.0.0", "api_key": "k"}


def test_where_others_can_ask_nothing_is_imported_unless_its_folder_is_named(
    data_folder, model, outside
):
    body = {"modelPath": str(model)}
    refused = answered(data_folder, body, **OPEN)
    assert code(refused) == (403, "import_not_allowed")
    assert "import-folder" in refused.json()["message"]
    for path in ("/etc/passwd", "/nothing/there", f"{model}\0"):
        other = answered(data_folder, {"modelPath": path}, **OPEN)
        assert other.text == refused.text
    done = answered(data_folder, body, import_folder=(str(outside),), **OPEN)
    assert done.status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_where_folders_are_named_only_those_count_links_followed(
    data_folder, outside, tmp_path, host
):
    folder = tmp_path / "imports"
    settings = {"import_folder": (str(tmp_path / "other"), str(folder))}
    settings |= {"host": host, "api_key": "k"}
    beyond = small_gguf(outside / "mmproj.gguf", architecture="clip")
    inside = small_gguf(folder / "sub/in.gguf")
    (folder / "link.gguf").symlink_to(small_gguf(outside / "m.gguf"))
    parts = split_gguf(folder)
    parts[1].rename(outside / "part")
    parts[1].symlink_to(outside / "part")
    denied = [
        {"modelPath": str(outside / "m.gguf")},
        {"modelPath": str(folder / "link.gguf")},
        {"modelPath": str(parts[0])},
        {"modelPath": str(inside), "mmproj": str(beyond)},
        {"modelPath": str(inside), "mmproj": "/etc/passwd"},
    ]
    for body in denied:
        answer = answered(data_folder, body, **settings)
        assert code(answer) == (403, "import_not_allowed")
        named = "$.mmproj" if "mmproj" in body else "$.modelPath"
        assert answer.json()["error"]["param"] == named
    assert tree(data_folder) == {}
    assert answered(data_folder, {"modelPath": str(inside)}, **settings).status_code == 200
    (tmp_path / "named").symlink_to(outside)
    settings |= {"import_folder": (str(tmp_path / "named"),)}
    beside = {"modelPath": str(outside / "m.gguf")}
    assert answered(data_folder, beside, **settings).status_code == 200


def test_two_at_once_are_one_model(client, model, data_folder):
    async def both():
        importing = client.app.state.services.importing
        requests = [importing.import_model(ImportRequest(path=str(model))) for _ in range(2)]
        return await asyncio.gather(*requests, return_exceptions=True)

    outcomes = client.portal.call(both)
    assert sorted(getattr(done, "code", "") or done.id for done in outcomes) == [
        "already_exists",
        "m",
    ]
    assert (data_folder / "models/m/m.gguf").read_bytes() == model.read_bytes()


def test_a_server_that_stops_makes_no_model(settings, model, data_folder):
    app = create_app(settings)
    with TestClient(app, base_url=BASE_URL) as client:
        app.state.services.importing.close()
        assert code(bring(client, {"modelPath": str(model)})) == (503, "import_stopped")
    assert tree(data_folder) == {}
