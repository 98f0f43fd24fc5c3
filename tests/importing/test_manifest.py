from __future__ import annotations

import pytest

from jan_server.ids import is_new_id
from jan_server.importing import select
from jan_server.importing.manifest import (
    file_names,
    manifest,
    shown_name,
    suggested_id,
)
from tests.importing.conftest import small_gguf, split_gguf


@pytest.mark.parametrize(
    ("file", "inside", "id"),
    [
        ("Qwen2.5-0.5B-Instruct-Q4_K_M.gguf", "Qwen2.5 0.5B", "Qwen2.5-0.5B-Instruct-Q4_K_M"),
        ("My Model (2).gguf", "x", "My-Model-2"),
        ("Übersicht.gguf", "x", "Ubersicht"),
        ("._-x-.gguf", "y", "x"),
        ("model.gguf", "Tiny Llama", "Tiny-Llama"),
        ("ggml-model-q4_0.gguf", "LLaMA v2", "LLaMA-v2"),
        ("ggml-model-q4_0.gguf", "", "ggml-model-q4_0"),
        ("sha256-" + "0a" * 32, "Phi 3", "Phi-3"),
        ("0a" * 20, "/home/me/models/phi/", "phi"),
        ("model.gguf", "D:\\models\\phi", "phi"),
        ("stop.gguf", "Phi", "Phi"),
        ("模型.gguf", "Phi", "Phi"),
        ("a" * 200 + ".gguf", "", "a" * 128),
    ],
)
def test_an_id_is_made_of_the_files_name_or_of_the_one_inside(outside, file, inside, id):
    files = select([small_gguf(outside / file, general_name=inside)])
    assert suggested_id(files) == id
    assert is_new_id(id, kind="model")


def test_where_no_name_will_do_an_id_is_made_up(outside):
    files = select([small_gguf(outside / "停止.gguf")])
    id = suggested_id(files)
    assert id.startswith("model_")
    assert is_new_id(id, kind="model")
    assert shown_name(files) == "停止"


def test_parts_are_called_as_the_whole(outside):
    assert suggested_id(select([split_gguf(outside)[2]])) == "big"


@pytest.mark.parametrize("inside", ["", " ", "a\nb", "\x1b[2J"])
def test_a_name_that_cannot_be_shown_is_not(outside, inside):
    assert shown_name(select([small_gguf(outside / "m.gguf", general_name=inside)])) == "m"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("My Model.gguf", "My Model.gguf"),
        ("blob", "blob.gguf"),
        (".hidden.gguf", "hidden.gguf"),
        ("M.GGUF", "M.GGUF"),
        ("a\nb.gguf", "model.gguf"),
        ("b\udcff.gguf", "model.gguf"),
        ("a" * 254, "model.gguf"),
    ],
)
def test_a_file_keeps_its_name_where_it_would_be_found_by_it(outside, file, name):
    assert file_names(select([small_gguf(outside / file)])) == [name]


def test_parts_with_an_odd_name_are_still_parts(outside):
    parts = split_gguf(outside, name="b\udcff", count=2)
    names = file_names(select([parts[0]]))
    assert names == ["model-00001-of-00002.gguf", "model-00002-of-00002.gguf"]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("m.gguf", "mmproj-m.gguf"),
        ("mmproj-f16.gguf", "mmproj-f16.gguf"),
        ("b\udcff", "mmproj.gguf"),
        ("a" * 250, "mmproj.gguf"),
    ],
)
def test_a_projector_is_never_taken_for_weights(outside, file, name):
    model = small_gguf(outside / "sub/m.gguf")
    projector = small_gguf(outside / file, architecture="clip")
    assert file_names(select([model], mmproj=projector)) == ["m.gguf", name]


def test_a_manifest_has_jans_shape_and_what_the_header_knows(outside):
    path = small_gguf(
        outside / "m.gguf",
        general_name="Tiny",
        general_license="apache-2.0",
        general_author="Me",
        general_description="Small.",
        general_sampling_top__k=20,
        tokenizer_chat__template="{{ x }}",
        llama_context__length=131072,
    )
    size = path.stat().st_size
    value = manifest(
        select([path]), id="m", name="Tiny", created=1.5, paths=["m.gguf"], sums={"m.gguf": "ab"}
    )
    assert value == {
        "id": "m",
        "object": "model",
        "name": "Tiny",
        "version": "1.0",
        "description": "Small.",
        "format": "gguf",
        "sources": [{"filename": "m.gguf", "size": size, "sha256": "ab"}],
        "settings": {"llama_model_path": "m.gguf", "ctx_len": 4096},
        "parameters": {"top_k": 20},
        "metadata": {
            "author": "Me",
            "tags": [],
            "size": size,
            "quantization": "F32",
            "license": "apache-2.0",
            "architecture": "llama",
            "parameter_count": 32,
            "context_length": 131072,
        },
        "created": 1500,
    }


@pytest.mark.parametrize(
    ("length", "settings"),
    [(512, {"ctx_len": 512}), (4096, {"ctx_len": 4096}), (0, {}), (None, {})],
)
def test_the_context_is_the_files_up_to_a_bound(outside, length, settings):
    keys = {} if length is None else {"llama_context__length": length}
    files = select([small_gguf(outside / "m.gguf", **keys)])
    value = manifest(files, id="m", name="m", created=0, paths=["m.gguf"], sums={})
    assert value["settings"] == {"llama_model_path": "m.gguf", **settings}
    assert value["sources"] == []


def test_a_projector_is_named_in_the_settings(outside):
    model = small_gguf(outside / "m.gguf")
    projector = small_gguf(outside / "mmproj.gguf", architecture="clip")
    files = select([model], mmproj=projector)
    value = manifest(files, id="m", name="m", created=0, paths=["m.gguf", "p.gguf"], sums={})
    assert value["settings"] == {"llama_model_path": "m.gguf", "mmproj": "p.gguf"}


@pytest.mark.parametrize(
    ("file", "keys", "expected"),
    [
        ("m.gguf", {"general_file__type": 15}, "Q4_K_M"),
        ("m-Q8_0.gguf", {}, "F32"),
        ("m-Q8_0.gguf", {"tensors": 0}, "Q8_0"),
        ("m.gguf", {"tensors": 0}, None),
    ],
)
def test_the_quantization_is_the_headers_else_the_names(outside, file, keys, expected):
    files = select([small_gguf(outside / file, **keys)])
    value = manifest(files, id="m", name="m", created=0, paths=["m.gguf"], sums={})
    assert value["metadata"].get("quantization") == expected


def test_the_parameters_of_all_parts_are_counted(outside):
    parts = split_gguf(outside, tensors=2)
    names = [part.name for part in parts]
    value = manifest(select(parts), id="m", name="m", created=0, paths=names, sums={})
    assert value["metadata"]["parameter_count"] == 6 * 32
