"""Whether a model's weights are there, whole, and what they should be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from jan_server import gguf
from jan_server.errors import ModelCannotRun
from jan_server.store.doctor.found import Found, found
from jan_server.store.doctor.spots import Spot
from jan_server.store.signature import Signature, signature_of
from jan_server.store.weights import is_gguf, weights
from jan_server.types.model import Manifest, Source

Manifests = Mapping[str, Mapping[str, Any]]


class Sums:
    """SHA-256 of files, computed once for each state of a file. Raises OSError."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, Signature], str] = {}

    def __repr__(self) -> str:
        return f"<Sums of {len(self._known)} files>"

    def of(self, path: Path) -> str:
        with path.open("rb") as file:
            key = path, signature_of(path.stat())
            if key not in self._known:
                self._known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._known[key]


def check_weights(
    spot: Spot, value: Mapping[str, Any], *, catalogue: Manifests, sums: Sums | None
) -> Iterator[Found]:
    """`value` is the manifest, empty without one. Sums are only compared where `sums` is given.

    Raises OSError for a file that cannot be read to its end.
    """
    manifest = Manifest.from_value(value, name=spot.where)
    path = weights(spot.path, spot.place.root, value)
    if path is None:
        yield from _missing(spot, manifest)
        return
    yield from _file(spot, path, _sources(spot, manifest, catalogue), sums=sums)


def _missing(spot: Spot, manifest: Manifest) -> Iterator[Found]:
    """A model that has still to be downloaded lacks nothing."""
    named = manifest.settings.llama_model_path
    if named and (Path(named).is_absolute() or not manifest.downloads()):
        file = spot.shown(spot.place.kind.document)
        yield found("weights_missing", file, f"names the weights {named!r}, which are not there")


def _sources(spot: Spot, manifest: Manifest, catalogue: Manifests) -> list[Source]:
    """What is recorded of the model's files; the manifest's own word comes first."""
    known = Manifest.from_value(catalogue.get(spot.where, {}), name=spot.where)
    return [*manifest.downloads(), *known.downloads()]


def _file(spot: Spot, path: Path, sources: list[Source], *, sums: Sums | None) -> Iterator[Found]:
    shown = _shown(spot, path)
    recorded = [source for source in sources if _file_name(source) == path.name]
    size = next((source.size for source in recorded if source.size), None)
    sum = next((source.sha256 for source in recorded if source.sha256), None)
    if is_gguf(path.name) and (reason := _fault(path)):
        yield found("broken_weights", shown, reason)
    elif size is not None and path.stat().st_size != size:
        yield found("wrong_size", shown, f"has {path.stat().st_size} bytes instead of {size}")
    elif sums is not None and sum is not None and (got := sums.of(path)) != sum.lower():
        yield found("wrong_sum", shown, f"has the SHA-256 {got} instead of {sum.lower()}")


def _fault(path: Path) -> str:
    try:
        gguf.read_header(path)
    except ModelCannotRun as error:
        return error.message.removeprefix(f"{path.name} ")
    return ""


def _file_name(source: Source) -> str:
    """The name that a download gives a file."""
    if source.filename:
        return source.filename
    try:
        parts = urlsplit(source.url)
    except ValueError:  # No address at all.
        return ""
    return unquote(parts.fragment or parts.path).rpartition("/")[2]


def _shown(spot: Spot, path: Path) -> str:
    """From the data folder on, or the whole path of weights that lie elsewhere."""
    if path.is_relative_to(spot.path):
        return spot.shown(path.relative_to(spot.path).as_posix())
    root = spot.place.root
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
