"""What people call a model that no manifest knows yet: a repository of the hub, or an address.

    ORG/REPO                        the hub's, in the packing that is chosen for you
    ORG/REPO:Q8_0  ORG/REPO:FILE    in that packing, or that very file
    https://huggingface.co/ORG/REPO[/blob/main/FILE]    the same; hf.co/... too
    https://host/model.gguf#sha256=9fec...              any other file, with the sum it must have

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from jan_server import ids, quantization
from jan_server.downloads import addresses
from jan_server.errors import InvalidRequest, NotFound
from jan_server.gguf import is_later_part, parts_of
from jan_server.store.weights import is_gguf

CHOICES = (
    *("Q4_K_M", "Q4_K_S", "Q4_0", "Q4_1", "IQ4_XS", "IQ4_NL"),
    *("Q5_K_M", "Q5_K_S", "Q5_0", "Q5_1", "Q6_K", "Q8_0"),
    *("Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K"),
    *("F16", "BF16", "F32"),
)
"""Which packing is chosen where nobody says: about four bits, as good as that size gets; else a
better and larger one, else a smaller one, else none at all. Files without one come first of all."""

_REPOSITORY = re.compile(
    r"(?:(?:hf\.co|huggingface\.co)/)?"
    r"(?P<repo>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?::(?P<file>.{1,300}))?"
)
_PAGE = re.compile(
    r"/(?P<repo>[^/]+/[^/]+?)(?:/(?:resolve|blob|tree)/(?P<revision>[^/]+)(?:/(?P<file>.+))?)?/?"
)
_SUM = re.compile(r"sha256=(?P<sha256>[0-9a-fA-F]{64})")


class Reference(Struct, frozen=True, kw_only=True):
    """A repository of the hub and, where it was said, which of its files."""

    repo: str
    file: str | None = None
    revision: str = "main"


class Address(Struct, frozen=True, kw_only=True):
    """A file somewhere else, and its sum."""

    url: str
    sha256: str


class RepositoryFile(Struct, frozen=True, kw_only=True):
    """A file as the hub lists it; the sum is known of large ones."""

    name: str
    size: int | None = None
    sha256: str | None = None


def parse(text: str) -> Reference | Address | None:
    """None for what is no such name. InvalidRequest for an address without https or its sum."""
    if "://" in text:
        return _parse_url(text)
    found = _REPOSITORY.fullmatch(text)
    return Reference(repo=found["repo"], file=found["file"]) if found else None


def model_id(reference: Reference | Address, files: Sequence[RepositoryFile] = ()) -> str:
    """`ORG/REPO`; of a file that was asked for, `ORG/` and its name: two are two models."""
    if isinstance(reference, Address):
        return ids.new_model_id(_stem(urlsplit(reference.url).path))
    organisation, _, name = reference.repo.partition("/")
    if reference.file is not None:
        name = _stem(files[0].name)
    return f"{ids.new_model_id(organisation)}/{ids.new_model_id(name)}"


def choose(reference: Reference, listed: Sequence[RepositoryFile]) -> tuple[RepositoryFile, ...]:
    """The files to get: one, or all parts of a split model.

    Raises NotFound, with the choices, when none or several fit.
    """
    models = _models(listed)
    fitting = _fitting(reference.file, models)
    if len(fitting) != 1:
        said = f"{reference.repo}:{reference.file}" if reference.file else reference.repo
        raise NotFound("model", said, hint=_choices(models))
    return models[fitting[0]]


def manifest(
    id: str, *, author: str, files: Sequence[tuple[str, RepositoryFile]]
) -> dict[str, Any]:
    """A model.json as Jan 0.4 writes one; each file with its address. The rest its header says."""
    sources = [
        {
            "filename": Path(file.name).name,
            "url": url,
            **({"sha256": file.sha256} if file.sha256 else {}),
            **({"size": file.size} if file.size is not None else {}),
        }
        for url, file in files
    ]
    name = Path(files[0][1].name).name
    packing = quantization.of_name(name)
    return {
        "source_url": files[0][0],
        "sources": sources,
        "id": id,
        "object": "model",
        "name": _stem(name),
        "version": "1.0",
        "description": f"Got from {addresses.shown(files[0][0])}",
        "format": "gguf",
        "settings": {"llama_model_path": name},
        "parameters": {},
        "metadata": {
            "author": author,
            "tags": [],
            **({"quantization": packing} if packing else {}),
            "size": sum(file.size or 0 for _, file in files),
        },
    }


def _parse_url(text: str) -> Reference | Address | None:
    parts = urlsplit(text)
    if any(text.startswith(f"{hub}/") for hub in addresses.hubs()):
        found = _PAGE.fullmatch(unquote(parts.path))
        if found is None:
            return None
        revision = found["revision"] or "main"
        return Reference(repo=found["repo"], file=found["file"], revision=revision)
    if parts.scheme != "https":
        raise InvalidRequest(
            f"{addresses.shown(text)} is not asked for a model: only https addresses are, and the "
            "mirror of the hub that HF_ENDPOINT names."
        )
    known = _SUM.fullmatch(parts.fragment)
    if known is None:
        raise InvalidRequest(
            f"{addresses.shown(text)} is no file of the hub, so nobody says what it must be: "
            "add `#sha256=` and the 64 digits of its sum."
        )
    return Address(url=text.partition("#")[0], sha256=known["sha256"].lower())


def _models(listed: Sequence[RepositoryFile]) -> Mapping[str, tuple[RepositoryFile, ...]]:
    """Those that can be loaded, by the name of their first file. Incomplete ones are left out."""
    by_name = {file.name: file for file in listed if is_gguf(file.name)}
    models = {}
    for name in by_name:
        if "mmproj" in name.lower() or is_later_part(Path(name).name):
            continue
        parts = [part.as_posix() for part in parts_of(Path(name))] or [name]
        if all(part in by_name for part in parts):
            models[name] = tuple(by_name[part] for part in parts)
    return models


def _fitting(asked: str | None, models: Mapping[str, Any]) -> list[str]:
    """The names that fit, the best rule first that any fits."""
    names = list(models)
    if asked is not None:
        rules = (
            [name for name in names if name == asked],
            [name for name in names if Path(name).name == asked],
            [name for name in names if quantization.of_name(Path(name).name) == asked.upper()],
        )
        return next(filter(None, rules), [])
    if len(names) == 1:
        return names
    for packing in (None, *CHOICES):
        if found := [n for n in names if quantization.of_name(Path(n).name) == packing]:
            return found
    return []


def _choices(models: Mapping[str, Any]) -> str:
    if not models:
        return "It has no .gguf file that could be loaded."
    names = sorted(models)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"Say which file, as ORG/REPO:FILE. There are: {', '.join(names[:20])}{more}."


def _stem(path: str) -> str:
    """The name of a file without what says that it is a GGUF, or a part of one."""
    name = Path(unquote(path)).name
    stem = name[: -len(".gguf")] if is_gguf(name) else name
    return re.sub(r"-\d{5}-of-\d{5}$", "", stem)
