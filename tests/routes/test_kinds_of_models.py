"""Models beside those with a `model.json`: weights alone, aliases, a `model.yml`; and changes."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.conftest import tree
from tests.tiny_gguf import CHATML, write_tiny_gguf

YML = """# mine
model: "org:name"
name: Name
files:
  - models/cortex.so/org/name/model.gguf
ctx_len: 128
stop: [a, b]
temperature: 0.5
"""


@pytest.fixture
def dropped(data_folder):
    """Weights that somebody put into a folder of their own."""
    path = data_folder / "models/mine/w.gguf"
    path.parent.mkdir(parents=True)
    return write_tiny_gguf(
        path,
        extra_metadata={
            "general.author": "Me",
            "general.license": "mit",
            "general.file_type": 15,
            "general.sampling.temp": 0.25,
            "general.sampling.top_k": 7,
        },
    )


def test_what_the_header_of_weights_says_is_their_manifest(dropped, client, data_folder):
    model = client.get("/v1/models/mine").json()
    metadata = model.pop("metadata")
    assert {**model, "created": 0} == {
        "id": "mine",
        "object": "model",
        "name": "Tiny",
        "version": "1.0",
        "description": "",
        "format": "gguf",
        "engine": "llamacpp",
        "settings": {"llama_model_path": "w.gguf"},
        "parameters": {"temperature": 0.25, "top_k": 7},
        "state": "downloaded",
        "created": 0,
        "owned_by": "Me",
        "source_url": "",
    }
    assert metadata == {
        "size": dropped.stat().st_size,
        "author": "Me",
        "license": "mit",
        "architecture": "llama",
        "quantization": "Q4_K_M",
        "parameter_count": metadata["parameter_count"],
        "context_length": 256,
        "chat_template": CHATML,
    }
    assert metadata["parameter_count"] > 80_000
    assert not (data_folder / "models/mine/model.json").exists()


def test_other_weights_are_another_manifest(dropped, client):
    before = client.get("/v1/models/mine")
    write_tiny_gguf(dropped, context_length=128)
    after = client.get("/v1/models/mine")
    assert after.json()["metadata"]["context_length"] == 128
    assert after.headers["etag"] != before.headers["etag"]


def test_weights_that_are_no_gguf_are_shown_by_their_name(client, write):
    write("models/mine/w.gguf", "no weights")
    model = client.get("/v1/models/mine").json()
    assert (model["name"], model["metadata"]) == ("w", {"size": 10})


def test_a_changed_model_gets_a_manifest_with_what_was_known(dropped, client, data_folder):
    before = client.get("/v1/models/mine").json()
    answer = client.patch("/v1/models/mine", json={"name": "My own", "state": "x", "id": "y"})
    assert (answer.status_code, answer.json()["name"]) == (200, "My own")
    written = json.loads((data_folder / "models/mine/model.json").read_text())
    kept = {key: before[key] for key in ("settings", "parameters", "metadata", "version")}
    assert {**written, **kept, "name": "My own"} == written
    assert written["id"] == "mine"
    assert "state" not in written
    assert client.get("/v1/models/mine").json() == answer.json()


def test_weights_right_in_the_models_folder_are_a_model(client, data_folder):
    path = write_tiny_gguf(data_folder / "models/stray.gguf")
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["stray"]
    answer = client.post("/v1/models/stray", json={"name": "Mine"})
    assert (answer.status_code, answer.json()["name"]) == (200, "Mine")
    written = json.loads((data_folder / "models/stray/model.json").read_text())
    assert written["settings"] == {"llama_model_path": "models/stray.gguf"}
    [model] = client.get("/v1/models").json()["data"]
    assert (model["id"], model["state"], path.exists()) == ("stray", "downloaded", True)


def test_a_model_json_keeps_every_other_byte(client, write, data_folder):
    path = write("models/m/model.json", '{"engine": "echo",  "mine": 1.50, "name": "M"}')
    answer = client.patch("/v1/models/m", json={"name": "N", "mine": None, "created": 5})
    assert (answer.status_code, answer.json()["mine"]) == (200, None)
    assert path.read_text() == '{"engine": "echo",  "mine": null, "name": "N"}'
    assert client.patch("/v1/models/m", json={}).status_code == 200
    assert client.patch("/v1/models/m", json={"aliases": "x"}).status_code == 400
    assert client.patch("/v1/models/m", content=b"[]").status_code == 400
    old = {"If-Match": '"old"'}
    assert client.patch("/v1/models/m", json={"name": "O"}, headers=old).status_code == 412
    write("models/m/model.json", "{")
    answer = client.patch("/v1/models/m", json={"name": "O"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "file_broken")


def test_what_only_we_say_of_a_model_is_not_written_when_it_is_sent_back(client, write):
    path = write("models/m/model.json", '{"engine": "echo"}')
    texts = ("id", "object", "state", "mmproj", "download_error", "weights_changed")
    ours = {**dict.fromkeys(texts, "x"), "created": 1, "parts": ["x"], "download": {"id": "m"}}
    assert client.patch("/v1/models/m", json=ours).status_code == 200
    assert path.read_text() == '{"engine": "echo"}'


def test_what_is_not_here_cannot_be_changed(client):
    answer = client.patch("/v1/models/tinyllama-1.1b", json={"name": "O"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_downloaded")
    assert client.patch("/v1/models/none", json={"name": "O"}).status_code == 404


@pytest.mark.parametrize(
    ("path", "id"),
    [
        ("models/cortex.so/org/name/model.yml", "org:name"),
        ("llamacpp/models/org/name/model.yml", "org/name"),
    ],
)
def test_a_yml_is_read_and_never_written(client, write, data_folder, path, id):
    write(path, YML if "cortex" in path else "model_path: llamacpp/models/org/name/model.gguf\n")
    write_tiny_gguf((data_folder / path).with_name("model.gguf"))
    before = tree(data_folder)
    answer = client.patch(f"/v1/models/{id}", json={"name": "O"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_editable")
    assert path in answer.json()["error"]["message"]
    assert "Edit the file" in answer.json()["error"]["message"]
    assert tree(data_folder) == before


def test_what_a_yml_says_counts_in_a_chat(client, write, data_folder):
    write("models/cortex.so/org/name/model.yml", YML.replace("0.5", "0"))
    write_tiny_gguf(data_folder / "models/cortex.so/org/name/model.gguf")
    said = {"model": "org:name", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    one, other = (client.post("/v1/chat/completions", json=said).json() for _ in range(2))
    assert one["choices"] == other["choices"], "it answers by the most likely word"
    words = "word " * 200
    long = {**said, "messages": [{"role": "user", "content": words}]}
    answer = client.post("/v1/chat/completions", json=long)
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert "128" in answer.json()["error"]["message"]


def test_an_edited_model_json_counts_from_the_next_load_on(client, write, data_folder):
    write("models/m/model.json", {"settings": {"ctx_len": 128}})
    write_tiny_gguf(data_folder / "models/m/w.gguf")
    said = {"model": "m", "messages": [{"role": "user", "content": "word " * 150}], "max_tokens": 1}
    assert client.post("/v1/chat/completions", json=said).status_code == 400
    write("models/m/model.json", {"settings": {"ctx_len": 256}, "parameters": {"max_tokens": 2}})
    client.put("/v1/models/m/stop")
    assert client.post("/v1/chat/completions", json=said).status_code == 200
    del said["max_tokens"]
    answer = client.post("/v1/chat/completions", json=said).json()
    assert answer["usage"]["completion_tokens"] <= 2


def test_a_split_model_is_one_model_that_answers(client, data_folder):
    folder = data_folder / "models/m"
    folder.mkdir(parents=True)
    write_tiny_gguf(folder / "w.gguf", split=8)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"w-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    model = client.get("/v1/models/m").json()
    assert (model["parts"], model["state"]) == (names, "downloaded")
    assert model["metadata"]["size"] == sum(path.stat().st_size for path in folder.iterdir())
    said = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    answer = client.post("/v1/chat/completions", json=said)
    assert answer.json()["usage"]["completion_tokens"] > 0, answer.json()
    client.put("/v1/models/m/stop")
    part = folder / names[1]
    part.write_bytes(part.read_bytes()[:-100])
    answer = client.post("/v1/chat/completions", json=said)
    assert (answer.status_code, names[1] in answer.json()["error"]["message"]) == (422, True)
    part.unlink()
    assert client.get("/v1/models/m").json()["state"] == "not_downloaded"
    assert client.post("/v1/chat/completions", json=said).status_code == 404


def test_a_shorter_name_finds_a_model_everywhere(client, write):
    write(
        "models/echo/model.json",
        {"engine": "echo", "aliases": ["parrot"], "settings": {"prompt_template": "{prompt}"}},
    )
    assert client.get("/v1/models/parrot").json()["id"] == "echo"
    said = {"model": "parrot", "messages": [{"role": "user", "content": "hi"}]}
    answer = client.post("/v1/chat/completions", json=said).json()
    assert (answer["model"], answer["choices"][0]["message"]["content"]) == ("echo", "hi")
    assert client.put("/v1/models/parrot/start").json()["id"] == "echo"
    assert client.put("/v1/models/parrot/stop").json()["id"] == "echo"
    assert client.patch("/v1/models/parrot", json={"name": "P"}).json()["name"] == "P"
    assert (
        client.post("/v1/completions", json={"model": "parrot", "prompt": "a"}).status_code == 200
    )
    assert client.delete("/v1/models/parrot").json()["id"] == "echo"
    assert client.get("/v1/models/parrot").status_code == 404


def test_a_short_name_of_the_catalogue_is_one_too(client, write, data_folder):
    assert client.get("/v1/models/tinyllama").json()["id"] == "tinyllama-1.1b"
    answer = client.post(
        "/v1/chat/completions",
        json={"model": "tinyllama", "messages": [{"role": "user", "content": "a"}]},
    )
    assert answer.json()["error"]["code"] == "model_not_downloaded"
    # The user's own manifest of that id may say no aliases.
    write("models/tinyllama-1.1b/model.json", {"engine": "echo", "name": "Mine"})
    assert client.get("/v1/models/tinyllama").json()["name"] == "Mine"
    # A model that is here goes before one that could be got.
    shutil.rmtree(data_folder / "models/tinyllama-1.1b")
    write("models/other/model.json", {"engine": "echo", "aliases": ["tinyllama"]})
    assert client.get("/v1/models/tinyllama").json()["id"] == "other"
    # And a real id before all aliases.
    write("models/tinyllama/model.json", {"engine": "echo"})
    assert client.get("/v1/models/tinyllama").json()["id"] == "tinyllama"


def test_a_download_by_a_short_name_is_the_model_s(client, write, data_folder):
    write("models/mine/model.json", {"aliases": ["m"], "source_url": "ftp://x/w.gguf"})
    client.post("/v1/models/download/m")
    client.app.state.services.downloads.wait("mine", 20)
    assert "download_error" in client.get("/v1/models/mine").json()
    assert [path.name for path in (data_folder / "models").iterdir()] == ["mine"]


def test_what_is_only_an_alias_is_free_for_a_new_model(client, write, tmp_path):
    path = write_tiny_gguf(tmp_path / "w.gguf")
    for id in ("one", "two"):
        write(f"models/{id}/model.json", {"engine": "echo", "aliases": ["parrot"]})
    for name in ("tinyllama", "parrot"):
        done = client.post("/v1/models/import", json={"path": str(path), "model": name})
        assert done.status_code == 200, done.json()
        assert client.get(f"/v1/models/{name}").json()["id"] == name


def test_a_name_that_two_models_have_is_refused_with_both(client, write):
    for id in ("one", "two"):
        write(f"models/{id}/model.json", {"engine": "echo", "aliases": ["parrot"]})
    answer = client.post(
        "/v1/chat/completions",
        json={"model": "parrot", "messages": [{"role": "user", "content": "a"}]},
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "ambiguous_model")
    assert answer.json()["error"]["message"] == (
        "'parrot' is an alias of 'one' and 'two': ask for one of these."
    )


def test_the_catalogue_never_goes_over_what_the_user_wrote(client, write, data_folder):
    path = write("models/tinyllama-1.1b/model.json", {"name": "Mine", "engine": "echo"})
    before = path.read_bytes()
    [listed] = [m for m in client.get("/v1/models?state=all").json()["data"] if m["name"] == "Mine"]
    assert (listed["id"], listed["state"]) == ("tinyllama-1.1b", "downloaded")
    everything = client.get("/v1/models?state=all").json()["data"]
    others = {m["state"] for m in everything if m["id"] != "tinyllama-1.1b"}
    assert (len(everything), others) == (16, {"not_downloaded"})
    client.get("/v1/models/download/tinyllama-1.1b")
    assert path.read_bytes() == before
