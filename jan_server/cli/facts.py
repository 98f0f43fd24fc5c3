"""What is known of a model, as `models` and `show` tell it: its file, its header, what runs it."""

from __future__ import annotations

import contextlib
from math import prod
from typing import Any

import msgspec

from jan_server import engines, quantization
from jan_server.cli.fit import Fit, find_fit, refused
from jan_server.engines.base import ModelSpec
from jan_server.errors import ModelCannotRun
from jan_server.gguf import Header, read_header
from jan_server.models import KnownModel, Models
from jan_server.printable import printable


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A model in a list. `size` in bytes, of all its parts. `engine` would run it; it is null, and
    there is a `problem`, when none does. `loaded`: it is in memory. What is not known is null."""

    id: str
    size: int | None
    quantization: str | None
    engine: str | None
    state: str
    loaded: bool
    problem: str | None = None


class HeaderFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the header of a GGUF file says of the model; `parameters` are counted."""

    architecture: str | None
    name: str | None
    parameters: int
    quantization: str | None
    context_length: int | None
    embedding_length: int | None
    layers: int | None
    vocabulary: int | None
    tensors: int
    gguf_version: int


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one model. `answered_by` is the other server that answers a remote
    model; `header` and `chat_template` are of the file, and null while that is not here."""

    id: str
    name: str
    description: str
    state: str
    license: str | None
    source: str | None
    file: str | None
    size: int | None
    settings: dict[str, Any]
    parameters: dict[str, Any]
    header: HeaderFacts | None
    chat_template: str | None
    fit: Fit | None
    answered_by: str | None = None
    problem: str | None = None


def line(models: Models, model: KnownModel, *, state: str) -> Line:
    """Reads the file's header. What is wrong with it is the line's problem."""
    header, problem = _header(model)
    engine, wrong = _engine(models, model)
    return Line(
        id=model.id,
        size=_size(model),
        quantization=_quantization(model, header),
        engine=engine,
        state=state,
        loaded=state == "running",
        problem=problem or wrong,
    )


def facts(models: Models, model: KnownModel, *, state: str, budget: int) -> Facts:
    """Reads the file's header, and asks the engines."""
    header, problem = _header(model)
    manifest = model.manifest
    sources = manifest.downloads()
    return Facts(
        id=model.id,
        name=manifest.name or (header and header.text("general.name")) or model.id,
        description=manifest.description,
        state=state,
        license=_license(model, header),
        source=sources[0].url if sources else None,
        file=printable(str(model.weights)) if model.weights else None,
        size=_size(model),
        settings=_said(manifest.settings),
        parameters=manifest.parameters,
        header=_header_facts(header) if header else None,
        chat_template=header.text("tokenizer.chat_template") if header else None,
        fit=None if model.remote else _fit(models, model, header, problem, budget=budget),
        answered_by=model.remote.origin if model.remote else None,
        problem=(model.remote.problem or None) if model.remote else problem,
    )


def _header(model: KnownModel) -> tuple[Header | None, str | None]:
    """The header, if there are weights that have one; else why they have none."""
    if model.weights is None or model.remote:
        return None, None
    try:
        return read_header(model.weights), None
    except ModelCannotRun as error:
        return None, error.message


def _engine(models: Models, model: KnownModel) -> tuple[str | None, str | None]:
    if model.remote:
        return model.remote.engine, model.remote.problem or None
    try:
        return _spec(models, model).engine, None
    except ModelCannotRun as error:
        return None, error.message


def _spec(models: Models, model: KnownModel) -> ModelSpec:
    """Of a model that is not here too: by Jan's names of engines it is then the first choice."""
    if model.answers:
        return models.spec(model)
    name = engines.canonical_name(model.manifest.engine)
    here = msgspec.structs.replace(
        model, manifest=msgspec.structs.replace(model.manifest, engine=name)
    )
    return models.spec(here)


def _fit(
    models: Models, model: KnownModel, header: Header | None, problem: str | None, *, budget: int
) -> Fit:
    if problem:
        return refused(ModelCannotRun(problem), budget=budget)
    try:
        spec = _spec(models, model)
    except ModelCannotRun as error:
        return refused(error, budget=budget)
    return find_fit(spec, header, size=_size(model) or 0, budget=budget)


def _size(model: KnownModel) -> int | None:
    if model.weights:
        with contextlib.suppress(OSError):  # It was taken away this moment.
            return sum(path.stat().st_size for path in model.parts or (model.weights,))
    sizes = [source.size for source in model.manifest.downloads()]
    return sum(filter(None, sizes)) or None


def _quantization(model: KnownModel, header: Header | None) -> str | None:
    if header:
        return quantization.of_header(header)
    names = [source.filename or source.url for source in model.manifest.downloads()]
    return quantization.of_name(names[0]) if names else None


def _license(model: KnownModel, header: Header | None) -> str | None:
    said = model.manifest.metadata.get("license")
    if isinstance(said, str) and said:
        return said
    return header.text("general.license") if header else None


def _said(settings: msgspec.Struct) -> dict[str, Any]:
    return {name: v for name, v in msgspec.structs.asdict(settings).items() if v is not None}


def _header_facts(header: Header) -> HeaderFacts:
    architecture = header.text("general.architecture")

    def number(name: str) -> int | None:
        return header.integer(f"{architecture}.{name}")

    tokens = header.strings("tokenizer.ggml.tokens")
    return HeaderFacts(
        architecture=architecture,
        name=header.text("general.name"),
        parameters=sum(prod(tensor.shape) for tensor in header.tensors.values()),
        quantization=quantization.of_header(header),
        context_length=number("context_length"),
        embedding_length=number("embedding_length"),
        layers=number("block_count"),
        vocabulary=len(tokens) if tokens is not None else None,
        tensors=len(header.tensors),
        gguf_version=header.version,
    )
