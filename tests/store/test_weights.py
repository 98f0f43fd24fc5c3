"""Which file holds a model's weights."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from jan_server.errors import NotFound
from jan_server.store import Store
from tests.store.conftest import write

Row = tuple[list[str], dict[str, Any], str | None]
TABLE: dict[str, Row] = {
    "nothing": ([], {}, None),
    "one gguf": (["model.gguf"], {}, "model.gguf"),
    "any case": (["Model.Q4.GGUF"], {}, "Model.Q4.GGUF"),
    "the first": (["b.gguf", "a-00001-of-2.gguf"], {}, "a-00001-of-2.gguf"),
    "unfinished": (["a.gguf.download", "b.gguf.tmp", "c.gguf.partial", ".d.gguf"], {}, None),
    "all parts": (["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"], {}, "m-00001-of-00002.gguf"),
    "half of the parts": (["m-00001-of-00002.gguf"], {}, None),
    "the other half": (["m-00002-of-00002.gguf"], {}, None),
    "half of the parts and another": (
        ["m-00001-of-00002.gguf", "z.gguf"],
        {},
        "z.gguf",
    ),
    "a part of none": (["m-00001-of-00000.gguf"], {}, "m-00001-of-00000.gguf"),
    "the projector is another thing": (["mmproj-a.gguf", "z.gguf"], {}, "z.gguf"),
    "0.4.4's API download": (["m"], {}, "m"),
    "the manifest's": (
        ["a.gguf", "b.gguf"],
        {"settings": {"llama_model_path": "b.gguf"}},
        "b.gguf",
    ),
    "the manifest's, from the data folder": (
        ["a.gguf", "b.gguf"],
        {"settings": {"llama_model_path": "models/m/b.gguf"}},
        "b.gguf",
    ),
    "the manifest's is not there": (
        ["a.gguf"],
        {"settings": {"llama_model_path": "gone.gguf"}},
        "a.gguf",
    ),
    "a source's": (["a.gguf", "b.gguf"], {"sources": [3, {"filename": "b.gguf"}]}, "b.gguf"),
    "a source's address": (
        ["a.gguf", "b.gguf"],
        {"sources": [{"url": "https://host/x/b.gguf?download=true"}]},
        "b.gguf",
    ),
    "the old source": (["a.gguf", "b.gguf"], {"source_url": "https://host/x/b.gguf"}, "b.gguf"),
    "a source that is a path": (
        ["a.gguf"],
        {"sources": [{"filename": "../../secret.gguf"}]},
        "a.gguf",
    ),
    "wrong types": (
        ["a.gguf"],
        {"settings": {"llama_model_path": 7}, "sources": "x", "source_url": 3},
        "a.gguf",
    ),
    "a NUL": (["a.gguf"], {"settings": {"llama_model_path": "a\0"}}, "a.gguf"),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_weights_of_a_model(name: str, root: Path, store: Store) -> None:
    files, manifest, expected = TABLE[name]
    folder = root / "models/m"
    write(folder / "model.json", json.dumps(manifest))
    for file in files:
        write(folder / file, "weights")
    assert store.weights("m") == (folder / expected if expected else None)


def test_the_parts_and_the_projector_of_a_model(root: Path, store: Store) -> None:
    folder = root / "models/m"
    names = ["w-00001-of-00003.gguf", "w-00003-of-00003.gguf", "mmproj-w.gguf"]
    for name in names:
        write(folder / name, "weights")
    document = store.models.get("m")
    files = store.models.files_of(document)
    assert files.weights is None
    assert [path.name for path in files.parts] == [f"w-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert [path.name for path in files.missing] == ["w-00002-of-00003.gguf"]
    write(folder / "w-00002-of-00003.gguf", "weights")
    files = store.models.files_of(document)
    assert (files.weights, files.missing) == (folder / names[0], ())
    assert files.mmproj == folder / "mmproj-w.gguf"


def test_what_was_found_is_found_anew_when_something_changes(root: Path, store: Store) -> None:
    folder = root / "models/m"
    write(folder / "model.json", "{}")
    write(folder / "b.gguf", "weights")

    def found() -> tuple[str | None, str | None]:
        for path in (*folder.iterdir(), folder):
            os.utime(path, ns=(0, time.time_ns() - 10**10 - 1))  # Long ago: it is remembered.
        files = [store.models.files_of(store.models.get("m")) for _ in range(3)]
        assert files[0] == files[1] == files[2]
        weights, mmproj = files[0].weights, files[0].mmproj
        return weights and weights.name, mmproj and mmproj.name

    assert found() == ("b.gguf", None)
    write(folder / "a.gguf", "weights")
    assert found() == ("a.gguf", None)
    write(folder / "mmproj.gguf", "projector")
    assert found() == ("a.gguf", "mmproj.gguf")
    (folder / "a.gguf").unlink()
    assert found() == ("b.gguf", "mmproj.gguf")
    write(folder / "model.json", '{"settings": {"llama_model_path": "c.gguf"}}')
    assert found() == ("b.gguf", "mmproj.gguf")
    write(folder / "c.gguf", "weights")
    assert found() == ("c.gguf", "mmproj.gguf")
    shutil.rmtree(folder)
    write(folder / "model.json", "{}")
    assert found() == (None, None)


def test_weights_that_lie_elsewhere_are_looked_for_each_time(root: Path, store: Store) -> None:
    away = root.parent / "away.gguf"
    manifest = {"settings": {"llama_model_path": str(away)}}
    write(root / "models/m/model.json", json.dumps(manifest))
    write(root / "models/m/a.gguf", "weights")
    for path in (root / "models/m/a.gguf", root / "models/m/model.json", root / "models/m"):
        os.utime(path, ns=(0, 1))
    assert store.weights("m") == root / "models/m/a.gguf"
    write(away, "weights")
    assert store.weights("m") == away
    away.unlink()
    assert store.weights("m") == root / "models/m/a.gguf"


def test_weights_may_lie_anywhere(root: Path, store: Store) -> None:
    outside = root.parent / "big disk/w.gguf"
    write(outside, "weights")
    write(root / "models/named/model.json", f'{{"settings": {{"llama_model_path": "{outside}"}}}}')
    (root / "models/linked").symlink_to(outside.parent)
    (root / "models/file").mkdir()
    (root / "models/file/w.gguf").symlink_to(outside)
    assert [model.id for model in store.models.list()] == ["file", "linked", "named"]
    assert [store.weights(id) for id in ("file", "linked", "named")] == [
        root / "models/file/w.gguf",
        root / "models/linked/w.gguf",
        outside,
    ]


def test_models_may_lie_in_folders_of_folders(root: Path, store: Store) -> None:
    write(root / "models/org/name/model.json", '{"id": "inner"}')
    write(root / "models/huggingface.co/org/repo/w.gguf", "weights")
    write(root / "models/config/default-model.json", "{}")
    write(root / "models/a/b/c/d/e/w.gguf", "too deep")
    write(root / "models/stray.gguf", "no folder")
    assert [model.id for model in store.models.list()] == [
        "huggingface.co/org/repo",
        "org/name",
        "stray",
    ]
    assert store.models.get("org/name").id == "org/name"
    assert store.models.get("inner").id == "org/name"
    assert store.models.get("huggingface.co/org/repo").value == {}
    for id in ("org", "config", "org/none", "stray.gguf"):
        with pytest.raises(NotFound):
            store.models.get(id)


def test_a_models_files_go_to_the_trash_and_what_links_lead_to_stays(
    root: Path, store: Store
) -> None:
    outside = root.parent / "w.gguf"
    write(outside, "weights")
    write(root / "models/org/m/model.json", "{}")
    (root / "models/org/m/w.gguf").symlink_to(outside)
    trashed = store.models.delete_files("org/m", lambda name: name != "model.json")
    assert [path.name for path in trashed.iterdir()] == ["w.gguf"]
    assert trashed.parts[-3:] == ("models", "org", "m")
    assert outside.read_text() == "weights"
    assert store.weights("org/m") is None
    gone = store.models.delete("org/m")
    assert (gone / "model.json").read_text() == "{}"
    assert gone.parts[-3:] == ("models", "org", "m")
    store.trash.free(trashed)
    assert (trashed.exists(), gone.exists(), outside.exists()) == (False, True, True)


def test_only_what_is_in_the_trash_can_be_freed(root: Path, store: Store) -> None:
    trash = root / ".jan_server/trash"
    for path in (root / "threads", trash, trash / "../../threads"):
        with pytest.raises(ValueError, match=r"not a deletion|not in the subpath"):
            store.trash.free(path)
    assert len(store.threads.list()) == 2
