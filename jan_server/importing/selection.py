"""Which files make the model that somebody means. Reads their headers, changes nothing.

One file names all parts of a split model (`m-00001-of-00003.gguf`). A folder, or several files,
will do when they are one model, with a projector (`mmproj`) or without; else the choice is the
user's. Names say which files belong together, headers whether they are what they seem to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from jan_server import gguf
from jan_server.errors import ModelCannotRun, NotImportable
from jan_server.gguf import parts_of
from jan_server.store.signature import Signature, signature_of
from jan_server.store.weights import is_gguf

SHOWN = 5
"""How many names a message lists."""

NO_MODELS = {
    "adapter": "an adapter for another model",
    "imatrix": "an importance matrix",
    "vocab": "a vocabulary without weights",
}
"""Values of `general.type` (or of `general.architecture`) that no engine runs by themselves."""


class ModelFile(Struct, frozen=True, kw_only=True):
    """A file whose header was good when the file had this signature."""

    path: Path
    header: gguf.Header
    signature: Signature


class Selection(Struct, frozen=True, kw_only=True):
    """One model. `parts` in their order, most often one; `projector` is its mmproj."""

    parts: tuple[ModelFile, ...]
    projector: ModelFile | None = None

    @property
    def first(self) -> ModelFile:
        return self.parts[0]

    @property
    def files(self) -> tuple[ModelFile, ...]:
        return self.parts if self.projector is None else (*self.parts, self.projector)

    @property
    def bytes(self) -> int:
        return sum(file.signature.size for file in self.files)


def select(paths: Sequence[Path], *, mmproj: Path | None = None) -> Selection:
    """The model that these files, or the files of a folder, are.

    Raises NotImportable when they are none or several, and ModelCannotRun for a file that cannot be
    read, or is no whole GGUF.
    """
    named = [file.absolute() for path in paths for file in _files(path)]
    projectors = [file for file in named if is_projector(file.name)]
    parts = _one_model([file for file in named if file not in projectors], projectors)
    projector = _one_projector([mmproj.absolute()] if mmproj else projectors)
    found = Selection(
        parts=tuple(map(_read, parts)), projector=None if projector is None else _read(projector)
    )
    _check_is_whole(found.parts)
    _check_kinds(found)
    return found


def is_projector(name: str) -> bool:
    """Whether files of that name are taken for projectors, here and in the folder of a model."""
    return "mmproj" in name.lower()


def _files(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return [path]
    try:
        names = sorted(file.name for file in path.iterdir())
    except OSError as error:
        raise NotImportable(f"{path} cannot be listed: {error.strerror}.") from error
    found = [path / name for name in names if is_gguf(name) and not name.startswith(".")]
    if not found:
        raise NotImportable(f"There is no .gguf in {path}.")
    return found


def _one_model(files: Sequence[Path], projectors: Sequence[Path]) -> tuple[Path, ...]:
    models = list(dict.fromkeys(_parts_of(file) for file in files))
    if len(models) > 1:
        raise NotImportable(
            f"These are {len(models)} models: {_listed([model[0] for model in models])}. "
            "Import them one by one."
        )
    if not models:
        raise NotImportable(
            f"{_listed(projectors)} is a projector, of a model that sees. Name the model's file, "
            "and this one with --mmproj."
        )
    return models[0]


def _parts_of(file: Path) -> tuple[Path, ...]:
    parts = parts_of(file)
    if not parts:
        return (file,)
    if file not in parts:
        raise NotImportable(f"{file.name} is called as a part that cannot be. Rename it.")
    missing = [part for part in parts if not part.exists()]
    if 0 < len(missing) < len(parts):
        raise NotImportable(
            f"{file.name} is one of {len(parts)} parts, and there is no {_listed(missing)} beside "
            "it."
        )
    return parts


def _one_projector(projectors: Sequence[Path]) -> Path | None:
    if len(projectors) > 1:
        raise NotImportable(
            f"These are several projectors: {_listed(projectors)}. Name one with --mmproj."
        )
    return projectors[0] if projectors else None


def _read(path: Path) -> ModelFile:
    try:
        # First: a file that is changed while it is read has another one afterwards.
        signature = signature_of(path.stat())
    except OSError as error:
        raise ModelCannotRun(f"{path.name} cannot be read: {error.strerror}.") from error
    return ModelFile(path=path, header=gguf.read_header(path), signature=signature)


def _check_is_whole(parts: Sequence[ModelFile]) -> None:
    """Whether as many parts were named as there are, and hold as many tensors as there are."""
    for number, part in enumerate(parts):
        count = part.header.integer("split.count") or 1
        own = part.header.integer("split.no") or 0
        if (count, own) != (len(parts), number):
            raise NotImportable(
                f"{part.path.name} says that it is part {own + 1} of {count}. Give the parts their "
                f"names back: NAME-00001-of-{count:05}.gguf."
            )
    tensors = sum(len(part.header.tensors) for part in parts)
    expected = parts[0].header.integer("split.tensors.count")
    if expected not in (None, tensors):
        raise NotImportable(
            f"The parts of {parts[0].path.name} hold {tensors} tensors where there should be "
            f"{expected}: they are not of one model."
        )


def _check_kinds(found: Selection) -> None:
    name, header = found.first.path.name, found.first.header
    if _is_projectors(header):
        raise NotImportable(
            f"{name} is a projector, of a model that sees. Name the model's file, and this one "
            "with --mmproj."
        )
    kinds = (header.text("general.type"), header.text("general.architecture"))
    for what in filter(None, map(NO_MODELS.get, filter(None, kinds))):
        raise NotImportable(f"{name} is {what}, and no model.")
    if found.projector and not _is_projectors(found.projector.header):
        raise NotImportable(f"{found.projector.path.name} is no projector: it cannot be an mmproj.")


def _is_projectors(header: gguf.Header) -> bool:
    return header.text("general.architecture") == "clip" or header.text("general.type") == "mmproj"


def _listed(files: Sequence[Path]) -> str:
    names = [file.name for file in files[:SHOWN]]
    more = len(files) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
