"""Removing models: what goes to the trash, what is freed, what is kept, and that all is said."""

from __future__ import annotations

import json
import os
import shutil

import httpx2
import pytest

from jan_server.errors import JanError
from jan_server.settings import Settings
from tests.conftest import tree
from tests.downloads.conftest import hub as hub
from tests.downloads.hub import PATH, PATIENCE, WEIGHTS, Answer, Fault, manifest
from tests.running import served
from tests.tiny_gguf import write_tiny_gguf

CATALOGUED = "tinyllama-1.1b"


@pytest.fixture
def tiny(write, data_folder):
    write("models/tiny/model.json", {"name": "Tiny", "settings": {"ctx_len": "128"}})
    write_tiny_gguf(data_folder / "models" / "tiny" / "tiny.gguf")
    return "tiny"


def remove(client, id, *, now=False):
    answer = client.delete(f"/v1/models/{id}", params={"now": str(now).lower()})
    assert answer.status_code == 200, answer.text
    return answer.json()


def fates(removed):
    """What is said of each file: its fate, and why."""
    return {file["path"]: (file["fate"], file.get("why")) for file in removed["files"]}


def refused(answer):
    return answer.status_code, answer.json()["error"]["code"]


def everything(folder):
    """Every path below, with its bytes or where it leads to."""
    found = {}
    for below, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = os.path.join(below, name)  # noqa: PTH118
            if os.path.islink(path):  # noqa: PTH114
                found[os.path.relpath(path, folder)] = os.readlink(path)  # noqa: PTH115
            elif name in names:
                with open(path, "rb") as file:  # noqa: PTH123
                    found[os.path.relpath(path, folder)] = file.read()
    return found


OTHERS = "not the model's, but in its folder"


def test_deleting_moves_everything_to_the_trash(client, tiny, data_folder):
    sizes = {path.name: path.stat().st_size for path in (data_folder / "models/tiny").iterdir()}
    answer = remove(client, tiny)
    [trashed] = (data_folder / ".jan_server/trash").glob("*/models/tiny")
    assert answer == {
        "id": "tiny",
        "object": "model",
        "deleted": True,
        "weights": "trash",
        "manifest": "trash",
        "deletion": trashed.parent.parent.name,
        "files": [
            {"path": f"models/tiny/{name}", "bytes": sizes[name], "fate": "trash"}
            for name in ("model.json", "tiny.gguf")
        ],
        "more": 0,
    }
    assert sorted(path.name for path in trashed.iterdir()) == ["model.json", "tiny.gguf"]
    assert client.get("/v1/models/tiny").status_code == 404


def test_a_model_of_the_catalogue_keeps_its_manifest(client, write, data_folder):
    write("models/tinyllama-1.1b/model.json", {"name": "Mine"})
    write("models/tinyllama-1.1b/notes.txt", "my notes")
    write("models/tinyllama-1.1b/x.gguf", "weights")
    answer = remove(client, CATALOGUED)
    assert (answer["weights"], answer["manifest"]) == ("trash", "kept")
    assert fates(answer) == {
        "models/tinyllama-1.1b/x.gguf": ("trash", None),
        "models/tinyllama-1.1b/model.json": ("kept", "the catalogue has this model"),
        "models/tinyllama-1.1b/notes.txt": ("kept", "not the model's"),
    }
    left = sorted(path.name for path in (data_folder / "models/tinyllama-1.1b").iterdir())
    assert left == ["model.json", "notes.txt"]
    model = client.get("/v1/models/tinyllama-1.1b").json()
    assert (model["name"], model["state"]) == ("Mine", "not_downloaded")


def test_what_an_engine_made_of_the_weights_goes_with_them(client, tiny, data_folder):
    body = {"model": tiny, "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
    assert client.post("/v1/chat/completions", json=body).status_code == 200
    assert len(list((data_folder / ".jan_server/fitted").rglob("*.gguf"))) == 1
    client.delete(f"/v1/models/{tiny}")
    assert list((data_folder / ".jan_server/fitted").rglob("*.gguf")) == []
    assert client.get("/healthz").json()["models"] == []


def test_now_frees_the_space_at_once(client, tiny, data_folder):
    removed = remove(client, tiny, now=True)
    assert removed["weights"] == "freed"
    assert fates(removed) == {
        "models/tiny/model.json": ("trash", None),
        "models/tiny/tiny.gguf": ("freed", None),
    }
    assert list((data_folder / ".jan_server/trash").rglob("*.gguf")) == []


def test_now_frees_only_the_weights_and_never_the_users_own_files(client, tiny, write, data_folder):
    write("models/tiny/notes.txt", "my notes")
    removed = remove(client, tiny, now=True)
    assert fates(removed)["models/tiny/notes.txt"] == ("trash", OTHERS)
    [trashed] = (data_folder / ".jan_server/trash").glob("*/models/tiny")
    assert sorted(path.name for path in trashed.iterdir()) == ["model.json", "notes.txt"]


def test_a_model_is_deleted_by_the_id_in_its_manifest_too(client, write, data_folder):
    write("models/renamed/model.json", {"id": "inner"})
    write_tiny_gguf(data_folder / "models/renamed/x.gguf")
    assert client.delete("/v1/models/inner").json()["id"] == "renamed"
    assert not (data_folder / "models/renamed").exists()


@pytest.mark.parametrize("now", ["true", "false"])
def test_a_model_without_a_manifest_is_deleted_whole(client, data_folder, now):
    (data_folder / "models/bare").mkdir()
    write_tiny_gguf(data_folder / "models/bare/m.gguf")
    (data_folder / "models/bare/m.gguf.md").write_text("my notes")
    (data_folder / "models/bare/more.gguf").mkdir()
    answer = client.delete("/v1/models/bare", params={"now": now})
    assert answer.json()["weights"] == ("freed" if now == "true" else "trash")
    [trashed] = (data_folder / ".jan_server/trash").glob("*/models/bare")
    left = {path.name for path in trashed.iterdir()}
    assert left == {"m.gguf.md", "more.gguf"} | (set() if now == "true" else {"m.gguf"})


def test_deleting_what_is_not_here_is_a_404(client, write):
    codes = [
        client.delete(f"/v1/models/{id}").json()["error"]["code"]
        for id in ("nope", "tinyllama-1.1b")
    ]
    assert codes == ["model_not_found", "model_not_downloaded"]


# --- links: nothing outside is ever touched ---------------------------------------------------

LINK = "a link; what it leads to stays"
OUTSIDE = "lies outside the model's folder"


@pytest.fixture
def outside(tmp_path):
    """A model that lies elsewhere, with its user's notes."""
    folder = tmp_path / "outside"
    folder.mkdir()
    write_tiny_gguf(folder / "x.gguf")
    (folder / "model.json").write_text("{}")
    (folder / "notes.txt").write_text("my notes")
    return folder


@pytest.mark.parametrize("now", [False, True])
@pytest.mark.parametrize("id", ["linked", CATALOGUED, "org/linked"])
def test_of_a_model_folder_that_is_a_link_only_the_link_goes(client, outside, data_folder, id, now):
    before = everything(outside)
    (data_folder / "models" / id).parent.mkdir(exist_ok=True)
    (data_folder / "models" / id).symlink_to(outside)
    removed = remove(client, id, now=now)
    assert (removed["weights"], removed["manifest"]) == ("kept", "trash")
    assert fates(removed) == {
        f"models/{id}": ("trash", LINK),
        str(outside / "x.gguf"): ("kept", OUTSIDE),
    }
    assert everything(outside) == before
    assert not (data_folder / "models" / id).is_symlink()


@pytest.mark.parametrize("now", [False, True])
@pytest.mark.parametrize("id", ["m", CATALOGUED])
def test_of_weights_that_are_a_link_only_the_link_goes(
    client, outside, write, data_folder, id, now
):
    before = everything(outside)
    write(f"models/{id}/model.json", {})
    (data_folder / f"models/{id}/w.gguf").symlink_to(outside / "x.gguf")
    removed = remove(client, id, now=now)
    assert removed["weights"] == "kept"
    said = fates(removed)
    assert said[f"models/{id}/w.gguf"] == ("trash", LINK)
    assert said[str(outside / "x.gguf")] == ("kept", OUTSIDE)
    assert everything(outside) == before
    assert not (data_folder / f"models/{id}/w.gguf").is_symlink()


@pytest.mark.parametrize("now", [False, True])
@pytest.mark.parametrize("id", ["m", CATALOGUED])
def test_of_weights_that_the_manifest_names_elsewhere_only_the_manifest_goes(
    client, outside, write, data_folder, id, now
):
    """Also of a model of the catalogue, whose own manifest takes its place."""
    before = everything(outside)
    write(f"models/{id}/model.json", {"settings": {"llama_model_path": str(outside / "x.gguf")}})
    assert client.get(f"/v1/models/{id}").json()["state"] == "downloaded"
    removed = remove(client, id, now=now)
    assert (removed["weights"], removed["manifest"]) == ("kept", "trash")
    assert fates(removed) == {
        f"models/{id}/model.json": ("trash", None),
        str(outside / "x.gguf"): ("kept", OUTSIDE),
    }
    assert everything(outside) == before
    assert client.get(f"/v1/models/{id}").json().get("state") == (
        "not_downloaded" if id == CATALOGUED else None
    )


@pytest.mark.parametrize("now", [False, True])
def test_what_lies_behind_a_link_above_a_model_is_not_removed(client, outside, data_folder, now):
    shutil.copytree(outside, outside / "sub")
    before = everything(outside)
    (data_folder / "models/group").symlink_to(outside / "..")
    answer = client.delete("/v1/models/group/outside", params={"now": now})
    assert refused(answer) == (409, "lies_outside")
    assert everything(outside) == before
    assert (data_folder / "models/group").is_symlink()


@pytest.mark.parametrize("now", [False, True])
def test_links_among_the_users_own_files_are_not_followed(client, tiny, outside, data_folder, now):
    before = everything(outside)
    (data_folder / "models/tiny/notes").symlink_to(outside / "notes.txt")
    (data_folder / "models/tiny/all").symlink_to(outside)
    removed = remove(client, tiny, now=now)
    assert fates(removed)["models/tiny/notes"] == ("trash", LINK)
    assert fates(removed)["models/tiny/all"] == ("trash", LINK)
    assert everything(outside) == before


@pytest.mark.parametrize("now", [False, True])
def test_models_on_another_disk_behind_a_link_are_removed_as_ever(
    settings, data_folder, tmp_path, now
):
    """The folder of all models is the user's choice: what lies there is ours to move."""
    (tmp_path / "disk").mkdir()
    data_folder.mkdir()
    (data_folder / "models").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/m").mkdir()
    write_tiny_gguf(tmp_path / "disk/m/m.gguf")
    with served(settings) as url, httpx2.Client(base_url=url) as client:
        removed = remove(client, "m", now=now)
    assert fates(removed) == {"models/m/m.gguf": ("freed" if now else "trash", None)}


# --- the way back -----------------------------------------------------------------------------


def test_restoring_brings_all_back(client, tiny, write, outside, data_folder):
    write("models/tiny/sub/deep/notes.txt", "my notes")
    (data_folder / "models/tiny/link").symlink_to(outside / "notes.txt")
    before = everything(data_folder / "models")
    removed = remove(client, tiny)
    assert fates(removed)["models/tiny/sub/deep/notes.txt"] == ("trash", OTHERS)
    answer = client.post(f"/v1/trash/{removed['deletion']}/restore")
    assert answer.status_code == 200, answer.text
    assert everything(data_folder / "models") == before
    assert client.get("/v1/models/tiny").json()["state"] == "downloaded"


def test_restoring_puts_weights_back_beside_a_manifest_that_stayed(client, write, data_folder):
    write(f"models/{CATALOGUED}/model.json", {"name": "Mine"})
    write(f"models/{CATALOGUED}/a-00001-of-00002.gguf", "a")
    write(f"models/{CATALOGUED}/a-00002-of-00002.gguf", "b")
    write(f"models/{CATALOGUED}/mmproj-a.gguf", "c")
    before = everything(data_folder / "models")
    removed = remove(client, CATALOGUED)
    assert list(tree(data_folder)) == [f"models/{CATALOGUED}/model.json"]
    assert client.post(f"/v1/trash/{removed['deletion']}/restore").status_code == 200
    assert everything(data_folder / "models") == before


def test_weights_in_a_folder_of_the_model_go_and_are_freed_with_it(client, write, data_folder):
    path = write(f"models/{CATALOGUED}/model.json", {"settings": {"llama_model_path": "q4/w.gguf"}})
    (path.parent / "q4").mkdir()
    write_tiny_gguf(path.parent / "q4/w.gguf")
    removed = remove(client, CATALOGUED, now=True)
    assert (removed["weights"], removed["manifest"]) == ("freed", "trash")
    assert fates(removed)[f"models/{CATALOGUED}/q4/w.gguf"] == ("freed", None)
    assert list((data_folder / ".jan_server/trash").rglob("*.gguf")) == []


def test_of_very_many_files_the_rest_are_counted(client, tiny, data_folder):
    for number in range(1005):
        (data_folder / f"models/tiny/{number}.txt").touch()
    removed = remove(client, tiny)
    assert (len(removed["files"]), removed["more"]) == (1000, 7)


def test_a_name_that_is_not_utf8_is_told_as_its_bytes(client, tiny, data_folder):
    (data_folder / "models/tiny/b\udcff.txt").touch()
    assert "models/tiny/b\\udcff.txt" in fates(remove(client, tiny))


# --- what is refused, and what is unloaded ----------------------------------------------------


@pytest.mark.parametrize("was_good", [False, True])
def test_a_broken_manifest_is_a_409_and_nothing_is_unloaded_or_moved(
    client, echo, write, data_folder, was_good
):
    if was_good:
        assert client.put("/v1/models/echo/start").status_code == 200
    write("models/echo/model.json", "{")
    before = tree(data_folder)
    answer = client.delete("/v1/models/echo")
    assert refused(answer) == (409, "file_broken")
    assert answer.json()["message"].startswith("models/echo/model.json:1:2")
    assert tree(data_folder) == before
    assert client.get("/healthz").json()["models"] == (["echo"] if was_good else [])


def test_what_lies_outside_stays_loaded(client, outside, data_folder):
    (outside / "model.json").write_text('{"engine": "echo"}')
    (data_folder / "models/group").symlink_to(outside.parent)
    assert client.put("/v1/models/group/outside/start").status_code == 200
    assert refused(client.delete("/v1/models/group/outside")) == (409, "lies_outside")
    assert client.get("/healthz").json()["models"] == ["group/outside"]


def test_a_model_that_is_on_its_way_is_a_409_until_that_is_stopped(client, hub, write, data_folder):
    hub.answers[PATH] = Answer(pace=0.2)
    write("models/m/model.json", manifest())
    assert client.post("/v1/models/download/m").status_code == 200
    before = tree(data_folder)
    answer = client.delete("/v1/models/m")
    assert refused(answer) == (409, "model_downloading")
    assert "DELETE /v1/models/download/m" in answer.json()["message"]
    assert tree(data_folder) == before
    assert client.delete("/v1/models/download/m").status_code == 200
    assert fates(remove(client, "m")) == {"models/m/model.json": ("trash", None)}


def test_what_a_failed_download_left_goes_with_the_model(client, hub, write, data_folder):
    hub.answers[PATH] = Answer(fault=Fault(kind="status", at=len(WEIGHTS) // 2, status=404))
    write("models/m/model.json", manifest())
    client.post("/v1/models/download/m")
    client.app.state.services.downloads.wait("m", PATIENCE)
    assert list((data_folder / ".jan_server/downloads").iterdir()) != []
    remove(client, "m")
    assert list((data_folder / ".jan_server/downloads").iterdir()) == []


def test_a_remote_model_is_only_its_manifest(client, write, data_folder):
    write("models/far/model.json", {"engine": "openai", "settings": {"full_url": "http://x/v1"}})
    removed = remove(client, "far")
    assert removed["weights"] == "absent"
    assert fates(removed) == {"models/far/model.json": ("trash", None)}


def test_an_answer_that_runs_ends_with_an_error_that_says_so(data_folder, echo):
    body = {
        "model": echo,
        "stream": True,
        "messages": [{"role": "user", "content": "[[slow 0.05]] " + "word " * 2000}],
    }
    with served(Settings(data_folder=data_folder, fsync=False)) as url:
        with httpx2.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as stream:
            events = (line for line in stream.iter_lines() if line.startswith("data: {"))
            assert "choices" in json.loads(next(events)[6:])
            removed = httpx2.delete(f"{url}/v1/models/{echo}", timeout=60)
            assert removed.status_code == 200, removed.text
            *_, last = events
        assert json.loads(last[6:])["error"]["message"] == "The model 'echo' was removed."
        assert httpx2.get(f"{url}/v1/models/{echo}").status_code == 404
        assert httpx2.get(f"{url}/healthz").json()["models"] == []


def test_a_request_that_came_meanwhile_does_not_keep_it_loaded(client, echo, monkeypatch):
    removing = client.app.state.services.removing
    move = removing._move_to_trash

    def moved(model, *, now):
        assert client.put(f"/v1/models/{echo}/start").status_code == 200
        return move(model, now=now)

    monkeypatch.setattr(removing, "_move_to_trash", moved)
    remove(client, echo)
    assert client.get("/healthz").json()["models"] == []


def test_what_cannot_be_moved_is_as_it_was(client, tiny, data_folder, monkeypatch):
    def full(*_arguments, **_options):
        raise JanError("No.")

    monkeypatch.setattr(client.app.state.services.store.trash, "take", full)
    before = tree(data_folder)
    assert client.delete("/v1/models/tiny").status_code == 500
    assert tree(data_folder) == before


def test_a_foreign_page_removes_nothing(client, tiny):
    answer = client.delete("/v1/models/tiny", headers={"origin": "https://evil.example"})
    assert refused(answer) == (403, "origin_not_allowed")
