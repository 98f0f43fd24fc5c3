"""Jan 0.5.16's UI from its start to its end, on a real server."""

from __future__ import annotations

import json
import time
from importlib.metadata import version

import pytest
from wsproto.events import CloseConnection, RejectConnection

from jan_server import __version__
from jan_server.routes import jan05
from jan_server.settings import Settings
from tests.clients.jan05_ui import Socket, Ui
from tests.running import served
from tests.tiny_gguf import write_tiny_gguf

MODEL = {"engine": "echo", "settings": {"prompt_template": "{prompt}"}}


@pytest.fixture
def base(data_folder, write):
    write("models/echo/model.json", MODEL)
    with served(Settings(data_folder=data_folder, fsync=False)) as base:
        yield base


@pytest.fixture
def ui(base):
    with Ui(base) as ui:
        ui.start()
        yield ui


def said(messages):
    return [(m["role"], m["status"], m["content"][0]["text"]["value"]) for m in messages]


def on_disk(data_folder, id):
    lines = (data_folder / "threads" / id / "messages.jsonl").read_text().splitlines()
    return said(map(json.loads, lines))


def asked(data_folder, id):
    """What the user said, and how many messages there are."""
    lines = on_disk(data_folder, id)
    return [text for role, _, text in lines if role == "user"], len(lines)


def until(is_so):
    """The list follows an edit by hand within a moment."""
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_starts_in_an_empty_folder(ui):
    assert (ui.threads, list(ui.models)) == ({}, ["echo"])


def test_models_that_name_no_engine_have_one_that_it_knows(ui, data_folder):
    for name in ("dropped", "described"):
        (data_folder / "models" / name).mkdir()
        write_tiny_gguf(data_folder / "models" / name / "m.gguf")
    (data_folder / "models/described/model.json").write_text("{}")
    ui.start()
    assert set(ui.models) == {"echo", "dropped", "described"}


def test_a_new_thread_is_answered_titled_and_found_again(ui, base, data_folder):
    id = ui.new_thread("echo")
    ui.send(id, "Plan my weekend")
    ui.rename(id, ui.title_of(id))
    expected = [("user", "ready", "Plan my weekend"), ("assistant", "ready", "Plan my weekend")]
    assert on_disk(data_folder, id) == expected

    with Ui(base) as again:
        again.start()
        assistant = again.open_thread(id)
    assert again.threads[id]["title"] == "Plan my weekend"
    assert again.threads[id]["metadata"]["title"] == "Plan my weekend"
    assert (assistant["id"], assistant["name"], assistant["model"]["id"]) == ("jan", "Jan", "echo")
    assert said(again.messages[id]) == expected
    assert all("attachments" not in message for message in again.messages[id])


def test_a_reply_that_is_stopped_is_kept_as_far_as_it_came(ui, data_folder):
    id = ui.new_thread("echo")
    asked = "[[slow 0.05]] " + "word " * 400
    reply = ui.send(id, asked, stop_after=2)
    text = reply["content"][0]["text"]["value"]
    assert 0 < len(text) < len(asked)
    assert on_disk(data_folder, id)[-1] == ("assistant", "stopped", text)


def test_regenerating_and_editing_take_back_what_came_later(ui, data_folder):
    id = ui.new_thread("echo")
    ui.send(id, "one")
    ui.send(id, "two")
    ui.regenerate(id)
    assert asked(data_folder, id) == (["one", "two"], 4)
    ui.edit(id, 2, "three")
    assert asked(data_folder, id) == (["one", "three"], 4)


def test_saving_a_thread_does_not_undo_what_its_assistant_was_told(ui, data_folder):
    id = ui.new_thread("echo")
    ui.send(id, "one")
    ui.instruct(id, "Be brief.")
    ui.send(id, "two")
    ui.rename(id, "Renamed")
    thread = json.loads((data_folder / "threads" / id / "thread.json").read_bytes())
    [assistant] = thread["assistants"]
    assert (assistant["instructions"], thread["title"]) == ("Be brief.", "Renamed")
    assert assistant["tools"] == [{"type": "retrieval", "enabled": False}]


def test_threads_made_by_hand_and_by_other_jans_can_be_opened(ui, write):
    write("threads/mine/thread.json", {})
    write("threads/mine/messages.jsonl", '{"role":"user","content":"hi"}\n')
    model = {"id": "echo", "provider": "llamacpp"}
    write("threads/0f3c1c9e-5a41-4c1f-9b53-0d1a2b3c4d5e/thread.json", {"model": model})
    by_hand = {"mine", "0f3c1c9e-5a41-4c1f-9b53-0d1a2b3c4d5e"}
    until(lambda: ui.start() or ui.threads.keys() >= by_hand)
    for id in by_hand:
        assert ui.open_thread(id)["model"]["id"] == "echo"
        ui.send(id, "more")


def test_a_thread_that_is_deleted_is_gone_after_a_reload(ui, base):
    id = ui.new_thread("echo")
    ui.delete(id)
    with Ui(base) as again:
        again.start()
    assert id not in again.threads


def test_all_models_are_unloaded_and_the_server_goes_on(ui):
    ui.send(ui.new_thread("echo"), "hi")
    assert ui.call("GET", "/v1/models/status/echo")["state"] == "running"
    assert ui.call("DELETE", "/processmanager/destroy")["models"] == ["echo"]
    with ui.open("GET", "/v1/models/status/echo") as response:
        assert (response.status, bool(response.read())) == (404, True)
    assert ui.call("POST", "/v1/models/stop", {"model": "echo"})["state"] == "stopped"
    ui.start()


def test_the_events_socket_is_open_and_silent_until_the_server_ends(data_folder, write):
    write("models/echo/model.json", MODEL)
    with served(Settings(data_folder=data_folder, fsync=False)) as base:
        socket = Socket(base)
        assert socket.is_open
        assert socket.is_silent(0.3)
    with socket:
        assert isinstance(socket.end(), CloseConnection)


def test_a_foreign_page_gets_no_socket(base):
    with Socket(base, origin="https://evil.example") as socket:
        assert isinstance(socket.first, RejectConnection)


def test_who_lacks_the_key_gets_no_socket(data_folder):
    settings = Settings(data_folder=data_folder, fsync=False, api_key="k")
    with served(settings) as base, Socket(base) as socket:
        assert isinstance(socket.first, RejectConnection)
        assert socket.first.status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/engines/nope", None, 404),
        ("POST", "/v1/engines/nope/update", {}, 404),
        ("GET", "/v1/models/status/nope", None, 404),
        ("POST", "/v1/models/start", {}, 400),
        ("POST", "/v1/models/start", {"model": "nope"}, 404),
        ("POST", "/v1/models/start", {"model": "echo", "n_parallel": "many"}, 400),
        ("POST", "/v1/models/pull", {"model": "nope"}, 404),
        ("GET", "/v1/assistants/nope", None, 404),
    ],
)
def test_what_cannot_be_is_an_error_with_its_message(ui, method, path, body, status):
    with ui.open(method, path, body) as response:
        answer = json.loads(response.read())
    assert (response.status, answer["message"]) == (status, answer["error"]["message"])


def test_an_engine_says_how_it_is_updated(ui):
    told = ui.call("POST", "/v1/engines/ctransformers/update", {})
    assert "package" in told["message"]


def test_what_it_says_of_a_start_beside_the_settings_is_no_news(client, write, caplog):
    write("models/echo/model.json", MODEL)
    body = {"model": "echo", "engine": "llama-cpp", "n_parallel": 2}
    assert client.post("/v1/models/start", json=body).json()["state"] == "running"
    assert client.get("/healthz").json()["loaded"][0]["slots"] == 2
    assert "says nothing here" not in caplog.text
    assert client.post("/v1/models/stop", json={"model": "echo"}).json()["state"] == "stopped"
    assert client.get("/healthz").json()["loaded"] == []


def test_engines_are_on_this_machine_or_far(client, write):
    write("models/echo/model.json", MODEL)
    far = {"full_url": "http://127.0.0.1:9/v1/chat/completions"}
    write("models/far/model.json", {"engine": "openai", "settings": far})
    engines = client.get("/v1/engines").json()
    types = {name: variant["type"] for name, [variant] in engines.items()}
    assert (types["openai"], types["echo"]) == ("remote", "local")
    for name in ("openai", "echo"):
        assert client.get(f"/v1/engines/{name}").json() == engines[name]
        assert client.get(f"/v1/engines/{name}/default").json()["engine"] == name


def test_an_engine_whose_package_is_missing_is_shown_where_a_model_names_it(
    client, write, data_folder, monkeypatch
):
    monkeypatch.setitem(jan05.PACKAGES, "llama-cpp", "there-is-no-such-package")
    engines = client.get("/v1/engines").json()
    assert engines["ctransformers"][0]["version"] == version("ctransformers")
    assert "llama-cpp" not in engines
    write("models/tiny/model.json", {"engine": "llama-cpp"})
    write_tiny_gguf(data_folder / "models/tiny/m.gguf")
    assert client.get("/v1/engines/llama-cpp").json()[0]["version"] == __version__


def test_an_openai_client_is_not_answered_with_a_threads_assistant(client, write):
    write("threads/t/thread.json", {})
    beta = {"OpenAI-Beta": "assistants=v2"}
    assert client.get("/v1/assistants/t").json()["model"]["id"]
    assert client.get("/v1/assistants/t", headers=beta).status_code == 404
