"""What an imported model is called, and its `model.json`, as Jan 0.4 writes one. Pure.

The id comes from the file's name: that is what the person has just typed, and two quantisations of
a model do not share it. A name that says nothing (`model.gguf`, a blob named after its sum) gives
way to the one in the header.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import prod
from pathlib import PurePath
from typing import Any

from jan_server import ids, quantization
from jan_server.gguf import parts_of
from jan_server.importing.selection import Selection, is_projector
from jan_server.store import headers
from jan_server.store.weights import is_gguf

CONTEXT = 4096
"""Tokens, also where the file could hold more: as in the catalogue, for the sake of memory."""

_SAYS_NOTHING = re.compile(
    r"(ggml-)?(model|weights|gguf)([-._].{0,12})?|(sha256[-:])?[0-9a-f]{32,}", re.IGNORECASE
)


def suggested_id(files: Selection) -> str:
    """An id that may be new. Whether it is free is not known here."""
    stem, inside = _stem(files), _name_inside(files)
    says_nothing = _SAYS_NOTHING.fullmatch(stem) is not None
    return ids.new_model_id(*((inside, stem) if says_nothing else (stem, inside)))


def shown_name(files: Selection) -> str:
    """What people are shown: the header's name, else the file's; empty where neither can be."""
    return _name_inside(files) or _shown(_stem(files))


def file_names(files: Selection) -> list[str]:
    """The names that `files.files` have in the model's folder: all different, and found there.

    Names that cannot be listed, for a blank or an odd byte, are replaced.
    """
    count = len(files.parts)
    names = []
    for number, part in enumerate(files.parts, 1):
        plain = f"model-{number:05}-of-{count:05}.gguf" if count > 1 else "model.gguf"
        names.append(_usable(part.path.name, plain))
    if files.projector is not None:
        name = files.projector.path.name
        marked = name if is_projector(name) else f"mmproj-{name}"
        names.append(_usable(marked, "mmproj.gguf"))
    return names


def manifest(
    files: Selection,
    *,
    id: str,
    name: str,
    created: float,
    paths: list[str],
    sums: Mapping[str, str],
) -> dict[str, Any]:
    """The value of model.json. `paths` say where `files.files` are: names, or whole paths.

    `created` in seconds; `sums` have the SHA-256 of those paths that were read whole.
    """
    header = files.first.header
    weights, projector = paths[: len(files.parts)], paths[len(files.parts) :]
    context = header.integer(f"{header.text('general.architecture')}.context_length")
    settings: dict[str, Any] = {"llama_model_path": weights[0]}
    if projector:
        settings["mmproj"] = projector[0]
    if context is not None and context > 0:
        settings["ctx_len"] = min(context, CONTEXT)
    return {
        "id": id,
        "object": "model",
        "name": name,
        "version": "1.0",
        "description": header.text("general.description") or "",
        "format": "gguf",
        "sources": [
            {"filename": path, "size": file.signature.size, "sha256": sums[path]}
            for path, file in zip(paths, files.files, strict=True)
            if path in sums
        ],
        "settings": settings,
        "parameters": headers.parameters(header),
        "metadata": _metadata(files),
        "created": int(created * 1000),
    }


def manifest_bytes(value: Mapping[str, Any]) -> bytes:
    """Laid out as Jan does."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _metadata(files: Selection) -> dict[str, Any]:
    named = quantization.of_name(files.first.path.name)
    said = headers.metadata(files.first.header)
    # The file has it, and a copy would be taken for the user's own word.
    said.pop("chat_template", None)
    tensors = [tensor for part in files.parts for tensor in part.header.tensors.values()]
    return {
        "author": "User",
        "tags": [],
        **({"quantization": named} if named else {}),
        **said,
        "size": files.bytes,
        "parameter_count": sum(prod(tensor.shape) for tensor in tensors),
    }


def _stem(files: Selection) -> str:
    path = files.first.path
    if path in parts_of(path):
        return path.name[: -len("-00001-of-00001.gguf")]
    return path.stem if is_gguf(path.name) else path.name


def _name_inside(files: Selection) -> str:
    """`general.name`; of a path, as some converters write it, the end."""
    text = (files.first.header.text("general.name") or "").strip()
    return _shown(PurePath(text.replace("\\", "/")).name.strip())


def _shown(text: str) -> str:
    """Without control characters, and without the halves of one that an odd byte is."""
    return text if text.isprintable() else ""


def _usable(name: str, instead: str) -> str:
    named = name.lstrip(".")
    if not is_gguf(named):
        named += ".gguf"
    return named if ids.is_lookup_id(named) else instead
