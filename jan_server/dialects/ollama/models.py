"""What Ollama tells of models: of those that can answer, of one, of those in memory.

Reads the headers of files, each once for as long as the file is as it was.
"""

from __future__ import annotations

import contextlib
import time
from functools import lru_cache
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from jan_server import quantization
from jan_server.completions import reasoning
from jan_server.dialects.ollama.answer import moment
from jan_server.engines.pooled import Seen
from jan_server.errors import ModelCannotRun
from jan_server.gguf import read_header
from jan_server.models import KnownModel
from jan_server.types.ollama import LoadedTag, ModelDetails, Shown, Tag

NEVER = 4_102_444_800.0
"""The year 2100: of what is not unloaded by itself. Ollama writes a far day, too."""

_TEMPLATE = "tokenizer.chat_template"


class _File(NamedTuple):
    """What is told of a file. `info` are the values of its header, without lists and template."""

    size: int
    details: ModelDetails
    info: dict[str, Any]
    template: str


def tag(model: KnownModel) -> Tag:
    file = _file(model)
    return Tag(
        name=model.id,
        model=model.id,
        modified_at=moment(model.created),
        size=file.size,
        digest=_digest(model),
        details=file.details,
    )


def loaded_tag(seen: Seen, model: KnownModel) -> LoadedTag:
    expires = NEVER if seen.expires_in is None else time.time() + seen.expires_in
    return LoadedTag(
        name=model.id,
        model=model.id,
        size=seen.memory,
        digest=_digest(model),
        details=_file(model).details,
        expires_at=moment(expires),
    )


def shown(model: KnownModel) -> Shown:
    file = _file(model)
    return Shown(
        parameters=_parameters(model),
        template=model.manifest.settings.prompt_template or file.template,
        license=str(file.info.get("general.license", "")),
        details=file.details,
        model_info=file.info,
        capabilities=_capabilities(file.template),
        modified_at=moment(model.created),
    )


def _capabilities(template: str) -> list[str]:
    """Tools are told in words where a template does not know them."""
    thinking = ["thinking"] if reasoning.find(template) else []
    return ["completion", "tools", *thinking]


def _parameters(model: KnownModel) -> str:
    """As a Modelfile has them: a name and a value a line."""
    return "\n".join(f"{name} {value}" for name, value in model.manifest.parameters.items())


def _digest(model: KnownModel) -> str:
    """Of the manifest, as Ollama's."""
    return sha256(model.raw).hexdigest()


def _file(model: KnownModel) -> _File:
    """Of a file that is not here, or cannot be read, little is told."""
    if model.weights is not None:
        with contextlib.suppress(OSError, ModelCannotRun):
            stat = model.weights.stat()
            return _read(model.weights, stat.st_mtime_ns, stat.st_size)
    return _File(0, ModelDetails(format=model.manifest.format), {}, "")


@lru_cache(256)
def _read(path: Path, _mtime: int, size: int) -> _File:
    header = read_header(path)
    parameters = sum(prod(tensor.shape) for tensor in header.tensors.values())
    scalars = {
        key: value
        for key, value in header.metadata.items()
        if isinstance(value, str | int | float) and key != _TEMPLATE
    }
    family = header.text("general.architecture") or ""
    details = ModelDetails(
        format="gguf",
        family=family,
        families=[family],
        parameter_size=_counted(parameters),
        quantization_level=quantization.of_header(header) or "",
    )
    info = {**scalars, "general.parameter_count": parameters}
    return _File(size, details, info, header.text(_TEMPLATE) or "")


def _counted(parameters: int) -> str:
    for unit, factor in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if parameters >= factor:
            return f"{parameters / factor:.1f}{unit}"
    return str(parameters)
