"""The manifest of weights that have none: what the header of the `.gguf` says, as a `model.json`.

Read once for each state of a file (25 ms for 49,152 tokens). Of a file that cannot be read as GGUF
only its name and size are told: why it cannot run is said when somebody wants an answer of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from jan_server import quantization
from jan_server.errors import ModelCannotRun
from jan_server.gguf import Header, parts_of, read_header
from jan_server.store.signature import Signature, signature_at
from jan_server.store.weights import is_file

# What llama.cpp writes of how to choose tokens, and a manifest's name for it.
PARAMETERS = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_last_n": "repeat_last_n",
    "penalty_repeat": "repeat_penalty",
    "mirostat": "mirostat",
    "mirostat_tau": "mirostat_tau",
    "mirostat_eta": "mirostat_eta",
}


def manifest(weights: Path, *, id: str) -> Mapping[str, Any]:
    """The object of a `model.json` for weights, whole or the first part of them. Never raises.

    Do not change it: it is kept.
    """
    signature = signature_at(weights)
    return _manifest(weights, signature, id)


@lru_cache(maxsize=1024)
def _manifest(weights: Path, _signature: Signature | None, id: str) -> Mapping[str, Any]:
    size = sum(path.stat().st_size for path in parts_of(weights) or (weights,) if is_file(path))
    try:
        header = read_header(weights)
    except ModelCannotRun:
        return _object(id, weights, name=weights.stem, metadata={"size": size})
    return _object(
        id,
        weights,
        name=header.text("general.name") or weights.stem,
        description=header.text("general.description") or "",
        parameters=parameters(header),
        metadata={"size": size, **metadata(header)},
    )


def _object(
    id: str,
    weights: Path,
    *,
    name: str,
    metadata: dict[str, Any],
    description: str = "",
    parameters: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """In the order of the keys that Jan has."""
    return {
        "id": id,
        "object": "model",
        "name": name,
        "version": "1.0",
        "description": description,
        "format": "gguf",
        "settings": {"llama_model_path": weights.name},
        "parameters": parameters or {},
        "metadata": metadata,
    }


def metadata(header: Header) -> dict[str, Any]:
    """What a header says of its model, but for what it does not say."""
    architecture = header.text("general.architecture") or ""
    said = {
        "author": header.text("general.author") or header.text("general.organization"),
        "license": header.text("general.license"),
        "architecture": architecture,
        "quantization": quantization.of_header(header),
        "parameter_count": sum(prod(tensor.shape) for tensor in header.tensors.values()),
        "size_label": header.text("general.size_label"),
        "context_length": header.integer(f"{architecture}.context_length"),
        "chat_template": header.text("tokenizer.chat_template"),
    }
    return {key: value for key, value in said.items() if value}


def parameters(header: Header) -> dict[str, Any]:
    """How to choose tokens, as the model's makers would have it."""
    found = {
        name: header.metadata.get(f"general.sampling.{key}") for key, name in PARAMETERS.items()
    }
    return {name: value for name, value in found.items() if isinstance(value, int | float)}
