"""Whether a model's weights are there, whole, and what they should be."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from jan_server import gguf
from jan_server.errors import JanError, ModelCannotRun
from jan_server.store.doctor.found import Found, found
from jan_server.store.paths import Place
from jan_server.store.signature import Signature, signature_of
from jan_server.store.sums import VerifiedSums
from jan_server.store.weights import ModelFiles, is_gguf, model_files
from jan_server.types.model import Manifest, Source

logger = logging.getLogger(__name__)

Manifests = Mapping[str, Mapping[str, Any]]


class Digests:
    """SHA-256 of files, computed once for each state of a file; what is verified is `recorded`."""

    def __init__(self, recorded: VerifiedSums) -> None:
        self._recorded = recorded
        self._known: dict[tuple[Path, Signature], str] = {}

    def __repr__(self) -> str:
        return f"<Digests of {len(self._known)} files>"

    def of(self, path: Path) -> str:
        """Raises OSError."""
        with path.open("rb") as file:
            key = path, signature_of(os.fstat(file.fileno()))
            if key not in self._known:
                self._known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._known[key]

    def record(self, path: Path) -> None:
        """That the file is what it should be. Where nothing can be written, nothing is."""
        try:
            for (known, signature), digest in self._known.items():
                if known == path:
                    self._recorded.record(path, digest, signature=signature)
        except JanError as error:
            logger.warning("the sum of %s is not recorded: %s", path, error)


class Subject(NamedTuple):
    """A model: its `document`, whether there is one or not, and what that says."""

    document: Path
    id: str
    value: Mapping[str, Any]
    place: Place

    def shown(self, path: Path) -> str:
        """From the data folder on, or the whole path of weights that lie elsewhere."""
        if path.is_relative_to(self.place.path):
            return self.place.shown(path)
        root = self.place.root
        return str(path.relative_to(root) if path.is_relative_to(root) else path)


def check_weights(
    subject: Subject,
    *,
    catalogue: Manifests,
    recorded: VerifiedSums,
    digests: Digests | None,
) -> Iterator[Found]:
    """Sums are only computed where there are `digests`.

    Raises OSError for a file that cannot be read to its end.
    """
    manifest = Manifest.from_value(subject.value, name=subject.id)
    files = model_files(subject.document, subject.place.root, subject.value)
    if files.weights is None:
        yield from _missing(subject, manifest, files)
        return
    sources = _sources(subject, manifest, catalogue)
    for path in files.parts or (files.weights,):
        named = [source for source in sources if _file_name(source) == path.name]
        yield from _file(subject.shown(path), path, named, recorded=recorded, digests=digests)


def _file(
    shown: str,
    path: Path,
    sources: list[Source],
    *,
    recorded: VerifiedSums,
    digests: Digests | None,
) -> Iterator[Found]:
    fault = _fault(shown, path, sources)
    if fault:
        yield fault
    elif digests is None:
        yield from _changed(shown, path, recorded)
    else:
        yield from _sum(shown, path, sources, recorded=recorded, digests=digests)


def _missing(subject: Subject, manifest: Manifest, files: ModelFiles) -> Iterator[Found]:
    """A model that has still to be downloaded lacks nothing."""
    named = manifest.settings.llama_model_path
    file = subject.shown(subject.document)
    if files.missing:
        missing = ", ".join(path.name for path in files.missing)
        shown = subject.shown(files.parts[0])
        yield found("weights_missing", shown, f"lacks the parts {missing}")
    elif named and (Path(named).is_absolute() or not manifest.downloads()):
        yield found("weights_missing", file, f"names the weights {named!r}, which are not there")


def _sources(subject: Subject, manifest: Manifest, catalogue: Manifests) -> list[Source]:
    """What is recorded of the model's files; the manifest's own word comes first."""
    known = Manifest.from_value(catalogue.get(subject.id, {}), name=subject.id)
    return [*manifest.sources, *manifest.downloads(), *known.downloads()]


def _fault(shown: str, path: Path, sources: list[Source]) -> Found | None:
    size = next((source.size for source in sources if source.size), None)
    if is_gguf(path.name) and (reason := _broken(path)):
        return found("broken_weights", shown, reason)
    if size is not None and path.stat().st_size != size:
        return found("wrong_size", shown, f"has {path.stat().st_size} bytes instead of {size}")
    return None


def _changed(shown: str, path: Path, recorded: VerifiedSums) -> Iterator[Found]:
    was = recorded.changed(path)
    if was is not None:
        yield found("changed_weights", shown, f"changed after it was verified, {was.verified}")


def _sum(
    shown: str, path: Path, sources: list[Source], *, recorded: VerifiedSums, digests: Digests
) -> Iterator[Found]:
    """Where neither manifest nor catalogue has a sum, the file is to stay what it was at first."""
    named = next((source.sha256.lower() for source in sources if source.sha256), None)
    was, got = recorded.of(path), digests.of(path)
    if named is not None and named != got:
        yield found("wrong_sum", shown, f"has the SHA-256 {got} instead of {named}")
    elif named is None and was is not None and was.sha256 != got:
        reason = f"has the SHA-256 {got} instead of {was.sha256}, which it had {was.verified}"
        yield found("other_sum", shown, reason)
    else:
        digests.record(path)


def _broken(path: Path) -> str:
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
