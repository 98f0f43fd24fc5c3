"""Models that are a file, and models of today's Jan: found, told apart, followed, taken away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jan_server.errors import (
    FileBroken,
    FileUnreadable,
    LiesOutside,
    NotEditable,
    NotFound,
    PreconditionFailed,
)
from jan_server.events import Event
from jan_server.store import Store
from jan_server.store.doctor import Doctor
from jan_server.store.document import Document
from tests.store.conftest import write

A = "models/a/model.json"
B = "models/cortex.so/m/main/model.yml"
HF = "models/huggingface.co/org/repo"
C = "llamacpp/models/org/name/model.yml"


def yml(model: str = "", files: str = "", more: str = "") -> str:
    said = f"model: {model}\n" if model else ""
    return f"{said}files: [{files}]\n{more}"


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def store(root: Path, events: list[Event]) -> Store:
    store = Store(root, fsync=False, publish=events.append).open()
    store.keep()
    return store


def listed(store: Store) -> list[str]:
    return [document.id for document in store.models.list()]


def told(events: list[Event]) -> list[str]:
    found = [f"{event.kind} {event.change} {event.id}" for event in events]
    events.clear()
    return found


Put = Callable[[Path], object]
IDS: dict[str, tuple[dict[str, str], list[str]]] = {
    "what it says": ({B: yml("m:main")}, ["m:main"]),
    "its second word": ({B: "id: x\nfiles: []\n"}, ["x"]),
    "as cortex called it": ({B: yml()}, ["m:main"]),
    "an import by its name": ({"models/imported/x.yml": yml()}, ["x"]),
    "a repository's file": ({f"{HF}/f.yml": yml()}, ["org:repo:f"]),
    "two of a repository": ({f"{HF}/f.yml": yml("f"), f"{HF}/g.yml": yml("g")}, ["f", "g"]),
    "no id at all": ({"models/x/y.yml": yml()}, ["x/y"]),
    "an id that no request could hold": ({B: yml('"a/../b"')}, ["m:main"]),
    "weights alone": ({"models/x.gguf": "w", "models/y.GGUF": "w"}, ["x", "y"]),
    "weights beside a manifest": (
        {f"{HF}/f.yml": yml("f"), f"{HF}/f.gguf": "w", f"{HF}/other.gguf": "w"},
        ["f", "huggingface.co/org/repo/other"],
    ),
    "the parts of one": (
        {"models/x-00001-of-00002.gguf": "w", "models/x-00002-of-00002.gguf": "w"},
        ["x-00001-of-00002"],
    ),
    "a projector is none": ({"models/mmproj-x.gguf": "w"}, []),
    "a YAML file of somebody else": ({"models/x/docker-compose.yml": "services: {}"}, []),
    "a hidden one": ({"models/x/.y.yml": yml("y"), "models/.z/y.yml": yml("y")}, []),
    "beside a model.json": ({A: "{}", "models/a/model.yml": yml("b")}, ["a"]),
    "of today": ({C: "model_path: x\n"}, ["org/name"]),
    "one id three times": (
        {
            "models/m/model.json": "{}",
            "llamacpp/models/m/model.yml": "model_path: x\n",
            "models/imported/m.yml": yml("m"),
        },
        ["m", "m@llamacpp", "m@imported:m"],
    ),
    "one id twice": (
        {"models/imported/m.yml": yml("m"), "llamacpp/models/m/model.yml": "model_path: x\n"},
        ["m", "m@imported:m"],
    ),
    "one id in two files": (
        {"models/imported/x.yml": yml("m"), "models/imported/y.yml": yml("m")},
        ["m", "m@imported:y"],
    ),
}


@pytest.mark.parametrize("name", IDS)
def test_each_model_has_an_id(name: str, root: Path, store: Store) -> None:
    files, ids = IDS[name]
    for path, text in files.items():
        write(root / path, text)
    assert listed(store) == ids
    for id in ids:
        assert store.models.get(id).id == id
        assert store.models.has(id)
        assert store.models.folder(id).is_dir()
        assert not store.models.lies_outside(id)


def test_the_long_id_finds_a_model_in_any_case(root: Path, store: Store) -> None:
    write(root / "models/imported/m.yml", yml("m"))
    write(root / C, "model_path: x\n")
    assert store.models.get("m@imported:m").id == "m"
    assert store.models.get("org/name@llamacpp").id == "org/name"
    for id in ("n", "m@nowhere", "org/other@llamacpp"):
        with pytest.raises(NotFound):
            store.models.get(id)
        assert not store.models.has(id)


def test_an_edit_is_seen_at_once(root: Path, store: Store) -> None:
    write(root / B, yml("m", more="name: One\n"))
    assert store.models.get("m").value["name"] == "One"
    write(root / B, yml("m", more="name: Other\n"))
    assert store.models.get("m").value["name"] == "Other"
    write(root / B, yml("n"))
    assert listed(store) == ["n"]
    with pytest.raises(NotFound):
        store.models.get("m")


def test_a_broken_yml_hides_only_itself(root: Path, store: Store) -> None:
    write(root / B, yml("m"))
    write(root / "models/imported/n.yml", yml("n"))
    good = store.models.get("m")
    write(root / B, "model: [\n")
    stale = store.models.get("m")
    assert (stale.raw, stale.stale.startswith("models/cortex.so/m/main/model.yml:2:1 ")) == (
        good.raw,
        True,
    )
    assert listed(store) == ["m", "n"]
    fresh = Store(root, fsync=False).open()
    assert listed(fresh) == ["n"]
    with pytest.raises(FileUnreadable, match=r"model.yml:2:1"):
        fresh.models.get("m:main")
    with pytest.raises(FileBroken):
        fresh.models.delete("m:main")


def test_what_changes_is_told(root: Path, store: Store, events: list[Event]) -> None:
    store.look_everywhere()
    assert told(events) == []
    path = root / B
    write(path, yml("m"))
    store.look([path])
    assert told(events) == ["model created m"]
    store.look([path])
    assert told(events) == []
    write(path, yml("m", more="name: New\n"))
    store.look([path])
    assert told(events) == ["model updated m"]
    write(path.with_name("model.gguf"), "weights")
    store.look([path.with_name("model.gguf")])
    assert told(events) == ["model updated m"]
    write(path, "model: [\n")
    store.look([path])
    assert told(events) == ["model broken m"]
    write(path, yml("m"))
    store.look([path])
    assert told(events) == ["model updated m"]
    shutil.rmtree(path.parent)
    store.look([path])
    assert told(events) == ["model deleted m"]


def test_of_a_folder_that_was_moved_away_nothing_is_told(
    root: Path, store: Store, events: list[Event]
) -> None:
    write(root / B, yml("m"))
    store.look_everywhere()
    root.rename(root.with_name("away"))
    store.models.files.look()
    assert told(events) == []
    root.with_name("away").rename(root)
    assert listed(store) == ["m"]


def test_todays_models_are_told_by_the_id_that_reaches_them(
    root: Path, store: Store, events: list[Event]
) -> None:
    store.look_everywhere()
    write(root / "models/m/model.json", "{}")
    store.look([root / "models/m"])
    assert told(events) == ["model created m"]
    path = root / "llamacpp/models/m/model.yml"
    write(path, "model_path: x\n")
    store.look([path])
    assert told(events) == ["model created m@llamacpp"]
    write(path, "model_path: other\n")
    store.look([path])
    assert told(events) == ["model updated m@llamacpp"]


def test_weights_that_a_manifest_names_are_no_model_of_their_own(
    root: Path, store: Store, events: list[Event]
) -> None:
    write(root / "models/m.gguf", "weights")
    store.look_everywhere()
    assert listed(store) == ["m"]
    write(root / "models/m/model.json", '{"settings": {"llama_model_path": "models/m.gguf"}}')
    store.look([root / "models/m/model.json"])
    assert told(events) == ["model created m"]
    assert listed(store) == ["m"]
    assert store.models.get("m").path == root / "models/m/model.json"
    write(root / "models/m/model.json", "{")
    store.look([root / "models/m/model.json"])
    events.clear()
    write(root / "models/m/model.json", '{"settings": {"llama_model_path": "other.gguf"}}')
    store.look([root / "models/m/model.json"])
    assert told(events) == ["model updated m", "model created m@m"]
    shutil.rmtree(root / "models/m")
    store.look([root / "models/m"])
    assert sorted(told(events)) == ["model created m", "model deleted m", "model deleted m@m"]


def test_weights_that_go_into_the_folder_are_told(
    root: Path, store: Store, events: list[Event]
) -> None:
    write(root / C, "model_path: x\n")
    store.look_everywhere()
    write((root / C).with_name("model.gguf"), "weights")
    store.look([(root / C).with_name("model.gguf")])
    assert told(events) == ["model updated org/name"]


@pytest.mark.parametrize("id", ["m", "org/name"])
def test_a_yml_is_not_changed(id: str, root: Path, store: Store) -> None:
    write(root / B, yml("m"))
    write(root / C, "model_path: x\n")

    def refuse(_document: Document) -> None:
        raise PreconditionFailed("other")

    with pytest.raises(NotEditable, match=r"model\.yml is YAML"):
        store.models.change(id, {"name": "x"})
    with pytest.raises(PreconditionFailed):
        store.models.change(id, {"name": "x"}, condition=refuse)


def test_a_model_goes_to_the_trash_with_its_files_and_comes_back(
    root: Path, store: Store, events: list[Event]
) -> None:
    for name in ("f.yml", "f.gguf", "g.yml", "g.gguf"):
        write(root / HF / name, yml(name[0]) if name.endswith("yml") else name)
    store.look_everywhere()
    trashed = store.models.delete("f")
    assert sorted(path.name for path in trashed.iterdir()) == ["f.gguf", "f.yml"]
    assert listed(store) == ["g"]
    assert told(events) == ["model deleted f"]
    [item] = store.trash.list()
    assert (item.home, item.files, [path.name for path in item.weights]) == (HF, 2, ["f.gguf"])
    assert store.restore(item.id).id == "f"
    assert listed(store) == ["f", "g"]
    assert (root / HF / "f.gguf").read_text() == "f.gguf"
    assert "model created f" in told(events)


def test_what_lies_elsewhere_stays(root: Path, store: Store, tmp_path: Path) -> None:
    away = tmp_path / "away.gguf"
    away.write_text("weights")
    write(root / "models/imported/x.yml", yml("x", files=str(away)))
    assert store.weights("x") == away
    trashed = store.models.delete_files("x", lambda _name: False)
    assert [path.name for path in trashed.iterdir()] == ["x.yml"]
    assert away.read_text() == "weights"


def test_cortex_s_metadata_go_with_the_model(root: Path, store: Store) -> None:
    write(root / B, yml("m"))
    for name in ("metadata.yml", "model.gguf", "notes.txt"):
        write((root / B).with_name(name), name)
    trashed = store.models.delete("m")
    assert sorted(path.name for path in trashed.iterdir()) == [
        "metadata.yml",
        "model.gguf",
        "model.yml",
    ]
    assert (root / B).with_name("notes.txt").exists()
    [item] = store.trash.list()
    assert store.restore(item.id).id == "m"
    assert store.weights("m") == (root / B).with_name("model.gguf")


def test_todays_model_goes_with_its_folder(root: Path, store: Store) -> None:
    write(root / C, "model_path: llamacpp/models/org/name/model.gguf\n")
    write((root / C).with_name("model.gguf"), "weights")
    trashed = store.models.delete("org/name")
    assert trashed.parts[-4:] == ("llamacpp", "models", "org", "name")
    [item] = store.trash.list()
    assert (item.home, item.resource_id) == ("llamacpp/models/org/name", "org/name")
    assert store.restore(item.id).id == "org/name"
    assert store.weights("org/name") == (root / C).with_name("model.gguf")
    trashed = store.models.delete_files("org/name", lambda name: name == "model.gguf")
    assert [path.name for path in trashed.iterdir()] == ["model.gguf"]
    assert store.models.get("org/name").id == "org/name"


def test_behind_a_link_nothing_is_taken(root: Path, store: Store, tmp_path: Path) -> None:
    write(tmp_path / "away/x.yml", yml("x"))
    (root / "models").mkdir(exist_ok=True)
    (root / "models/linked").symlink_to(tmp_path / "away")
    assert listed(store) == ["x"]
    assert store.models.lies_outside("x")
    with pytest.raises(LiesOutside):
        store.models.delete("x")


def test_links_that_lead_round_in_a_circle_end(root: Path, store: Store) -> None:
    write(root / "models/imported/x.yml", yml("x"))
    (root / "models/imported/again").symlink_to(root / "models")
    assert "x" in listed(store)


def test_what_cannot_be_read_is_told(root: Path, store: Store) -> None:
    (root / B).parent.mkdir(parents=True)
    os.mkfifo(root / B)
    with pytest.raises(FileUnreadable, match="cannot be read"):
        store.models.get("m:main")
    assert listed(store) == []


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="Linux has a file that fails")
def test_a_disk_that_fails_is_told(root: Path, store: Store) -> None:
    write(root / "models/imported/x.yml", yml("x", files="/proc/self/mem"))
    assert [str(each) for each in Doctor(store).examine(sums=True).findings] == [
        "models/imported/x.yml cannot be looked at (Input/output error)"
    ]


def test_what_is_not_there_is_not_found(root: Path, store: Store) -> None:
    for ask in (store.models.files.get, store.models.files.path, store.models.files.folder):
        with pytest.raises(NotFound):
            ask("none")
    write(root / B, yml("m"))
    fresh = Store(root, fsync=False).open()
    fresh.wait_until_read()
    assert repr(fresh.models.files) == "<FileModels 1>"
    (root / B).parent.rename(root / "away")
    with pytest.raises(NotFound):
        store.models.delete("m")


def test_a_folder_in_place_of_a_file_is_none(root: Path, store: Store) -> None:
    (root / B).mkdir(parents=True)
    assert listed(store) == []
    assert [str(each) for each in Doctor(store).examine(sums=False).findings] == [
        "models/cortex.so/m/main/model.yml is empty"
    ]


def test_the_doctor_tells_what_is_wrong_with_them(root: Path, store: Store) -> None:
    write(root / "models/m/model.json", "{}")
    write(root / "llamacpp/models/m/model.yml", "model_path: /nowhere.gguf\n")
    write(root / "models/imported/m.yml", yml("m"))
    write(root / "models/imported/n.yml", "model: [\n")
    write(root / "models/x-00001-of-00003.gguf", "part")
    found = Doctor(store).examine(sums=True)
    assert [str(each) for each in found.findings] == [
        "llamacpp/models/m/model.yml is 'm@llamacpp' here: another model is called 'm'",
        "llamacpp/models/m/model.yml names the weights '/nowhere.gguf', which are not there",
        "models/imported/m.yml is 'm@imported:m' here: another model is called 'm'",
        "models/imported/n.yml:2:1 did not find expected node content",
        "models/x-00001-of-00003.gguf lacks the parts x-00002-of-00003.gguf, x-00003-of-00003.gguf",
    ]
    assert found.checked.models == 5


def test_they_say_what_they_are(store: Store) -> None:
    assert repr(store.models.files) == "<FileModels 0>"
    assert repr(store.models).startswith("<Library <Collection models")
