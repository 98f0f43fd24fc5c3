"""What each Jan wrote about a model: the values of a `model.yml` as those of a `model.json`. Pure.

    cortex   Jan 0.5.8-0.5.16  `files`, `model`, and settings and parameters on one level
    today's  Jan 0.5.17-       `model_path`, `mmproj_path`, sums and sizes

Which it is its keys say. The keys that have a place in a `model.json` go there, all others stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Where cortex's keys belong; `parameters` has all others that a request may hold.
_SETTINGS = (
    "ctx_len",
    "ngl",
    "n_parallel",
    "cpu_threads",
    "prompt_template",
    "embedding",
    "text_model",
    "mmproj",
)
_PARAMETERS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "typ_p",
    "tfs_z",
    "max_tokens",
    "stop",
    "stream",
    "frequency_penalty",
    "presence_penalty",
    "repeat_penalty",
    "repeat_last_n",
    "penalize_nl",
    "seed",
    "dynatemp_range",
    "dynatemp_exponent",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "ignore_eos",
    "n_probs",
    "min_keep",
    "grammar",
)
_ENGINE = "cortex.llamacpp"
"""What cortex called `llama-cpp`, which is the name of an engine of ours."""


def is_model(value: Any) -> bool:
    """Whether a decoded YAML file is about a model: other tools have such files too."""
    return isinstance(value, Mapping) and not {"model", "files", "model_path"}.isdisjoint(value)


def said_id(value: Mapping[str, Any]) -> str:
    """The id by which cortex was asked for a model; empty when the file says none."""
    said = (value.get(key) for key in ("model", "id"))
    return next((id for id in said if isinstance(id, str) and id), "")


def manifest(value: Mapping[str, Any]) -> dict[str, Any]:
    """The object that a `model.json` would hold. `value` is a decoded `model.yml` of any Jan."""
    return _of_today(value) if "model_path" in value else _of_cortex(value)


def _of_cortex(value: Mapping[str, Any]) -> dict[str, Any]:
    rest = dict(value)
    settings = _taken(rest, _SETTINGS)
    parameters = _taken(rest, _PARAMETERS)
    files = rest.get("files")
    first = files[0] if isinstance(files, list) and files else files
    if isinstance(first, str) and first:
        settings["llama_model_path"] = first
    if rest.get("engine") == "llama-cpp":
        rest["engine"] = _ENGINE
    size = {"size": rest["size"]} if isinstance(rest.get("size"), int) else {}
    metadata = rest.pop("metadata", {})
    return {
        **rest,
        "object": "model",
        "settings": settings,
        "parameters": parameters,
        "metadata": {**(metadata if isinstance(metadata, Mapping) else {}), **size},
    }


def _of_today(value: Mapping[str, Any]) -> dict[str, Any]:
    rest = dict(value)
    settings: dict[str, Any] = {"llama_model_path": rest.pop("model_path")}
    if rest.get("mmproj_path"):
        settings["mmproj"] = rest.pop("mmproj_path")
    if "embedding" in rest:
        settings["embedding"] = rest.pop("embedding")
    size = rest.get("size_bytes")
    return {
        **rest,
        "object": "model",
        "sources": [_source(settings["llama_model_path"], rest, "model")],
        "settings": settings,
        "metadata": {"size": size} if isinstance(size, int) else {},
        "engine": "llamacpp",
    }


def _source(path: Any, value: Mapping[str, Any], of: str) -> dict[str, Any]:
    """What is recorded of a file: its name, sum and size, as `sources` of a model.json."""
    name = path.replace("\\", "/").rpartition("/")[2] if isinstance(path, str) else ""
    recorded = {"sha256": value.get(f"{of}_sha256"), "size": value.get(f"{of}_size_bytes")}
    return {"filename": name, **{key: said for key, said in recorded.items() if said}}


def _taken(rest: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: rest.pop(key) for key in keys if key in rest}
