"""A `model.yml` of each Jan, before and after."""

from __future__ import annotations

from typing import Any

import pytest

from jan_server.store import model_formats
from jan_server.types.model import Manifest

CORTEX = {
    "id": "tinyllama",
    "model": "tinyllama:1b-gguf",
    "name": "tinyllama",
    "version": 1,
    "files": ["models/cortex.so/tinyllama/1b-gguf/model.gguf", "other.gguf"],
    "stop": ["</s>"],
    "temperature": 0.7,
    "top_k": 40,
    "seed": -1,
    "engine": "llama-cpp",
    "prompt_template": "{prompt}",
    "ctx_len": 2048,
    "ngl": 33,
    "mmproj": "m.gguf",
    "size": 5,
    "owned_by": "",
    "mine": [1],
}
PAIRS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        CORTEX,
        {
            "id": "tinyllama",
            "model": "tinyllama:1b-gguf",
            "name": "tinyllama",
            "version": 1,
            "files": ["models/cortex.so/tinyllama/1b-gguf/model.gguf", "other.gguf"],
            "engine": "cortex.llamacpp",
            "size": 5,
            "owned_by": "",
            "mine": [1],
            "object": "model",
            "settings": {
                "ctx_len": 2048,
                "ngl": 33,
                "prompt_template": "{prompt}",
                "mmproj": "m.gguf",
                "llama_model_path": "models/cortex.so/tinyllama/1b-gguf/model.gguf",
            },
            "parameters": {"temperature": 0.7, "top_k": 40, "stop": ["</s>"], "seed": -1},
            "metadata": {"size": 5},
        },
    ),
    (
        {"files": "x.gguf", "engine": "cortex.llamacpp", "metadata": {"author": "A"}},
        {
            "files": "x.gguf",
            "engine": "cortex.llamacpp",
            "object": "model",
            "settings": {"llama_model_path": "x.gguf"},
            "parameters": {},
            "metadata": {"author": "A"},
        },
    ),
    (
        {"files": [], "metadata": "x"},
        {"files": [], "object": "model", "settings": {}, "parameters": {}, "metadata": {}},
    ),
    (
        {
            "embedding": False,
            "mmproj_path": "llamacpp/models/x/mmproj.gguf",
            "model_path": "llamacpp/models/x/model.gguf",
            "model_sha256": "ab" * 32,
            "model_size_bytes": 7,
            "name": "x",
            "size_bytes": 9,
        },
        {
            "model_sha256": "ab" * 32,
            "model_size_bytes": 7,
            "name": "x",
            "size_bytes": 9,
            "object": "model",
            "sources": [{"filename": "model.gguf", "sha256": "ab" * 32, "size": 7}],
            "settings": {
                "llama_model_path": "llamacpp/models/x/model.gguf",
                "mmproj": "llamacpp/models/x/mmproj.gguf",
                "embedding": False,
            },
            "metadata": {"size": 9},
            "engine": "llamacpp",
        },
    ),
    (
        {"model_path": 7},
        {
            "object": "model",
            "sources": [{"filename": ""}],
            "settings": {"llama_model_path": 7},
            "metadata": {},
            "engine": "llamacpp",
        },
    ),
]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_model_yml_is_what_a_model_json_would_be(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    kept = {**before}
    assert model_formats.manifest(before) == after
    assert before == kept
    Manifest.from_value(after)


@pytest.mark.parametrize(
    ("value", "is_model", "id"),
    [
        (CORTEX, True, "tinyllama:1b-gguf"),
        ({"files": [], "id": "x"}, True, "x"),
        ({"model": 7, "id": 8}, True, ""),
        ({"model_path": "x"}, True, ""),
        ({"services": {}}, False, ""),
        ([], False, None),
        ("model", False, None),
    ],
)
def test_other_files_are_none(value: Any, is_model: bool, id: str | None) -> None:
    assert model_formats.is_model(value) == is_model
    if id is not None:
        assert model_formats.said_id(value) == id
