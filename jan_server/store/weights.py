"""Which files of a model's folder hold its weights. Reads names only, writes nothing.

A split model is one whose files are called `<name>-00001-of-00003.gguf` and so on: its weights are
the first of them, and are there when all of them are. A file with `mmproj` in its name turns images
into what a model reads; it is no model.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jan_server.gguf import is_later_part, parts_of

METADATA = "metadata.yml"
"""What cortex wrote beside a `model.yml`."""


class ModelFiles(NamedTuple):
    """`weights` is what an engine loads, None when it is not here, or not all of it.

    `parts` are all files of a split model, whether they are here or not.
    """

    weights: Path | None
    parts: tuple[Path, ...] = ()
    mmproj: Path | None = None

    @property
    def missing(self) -> tuple[Path, ...]:
        """Of a split model of which something is here, what is not."""
        return tuple(part for part in self.parts if not is_file(part))


def model_files(document: Path, data_folder: Path, manifest: Mapping[str, Any]) -> ModelFiles:
    """The files of the model that `document`, its `model.json` or `.yml`, is of.

    They may lie anywhere: links are followed. In Jan's order the weights are the path that the
    manifest names, the file that it was to be downloaded to, the first `.gguf` beside it, and a
    file named like the folder (what Jan 0.4.4's API downloaded). Of a `.yml` they are what it
    names, or the `.gguf` of its own name: others beside it may be other models'. A `.gguf` that is
    its own document is what it is.
    """
    # On texts, not paths: a list of models asks this of every one of them.
    folder = str(document.parent)
    names = _names(folder)
    candidates = (
        *_named(folder, data_folder, manifest, "llama_model_path"),
        *(f"{folder}/{name}" for name in _beside(document, names, manifest) if name in names),
    )
    weights: Path | None = None
    parts: tuple[Path, ...] = ()
    for path in filter(is_file, candidates):
        of_this = parts_of(Path(path))
        if all(map(is_file, of_this)):
            weights, parts = Path(path), of_this
            break
        parts = parts or of_this
    # Beside a file that is one model of several it may be another's.
    beside = sorted(filter(_is_projector, names)) if document.stem == "model" else ()
    projectors = (
        *_named(folder, data_folder, manifest, "mmproj"),
        *(f"{folder}/{name}" for name in beside),
    )
    mmproj = next(filter(is_file, projectors), None)
    return ModelFiles(weights, parts, Path(mmproj) if mmproj else None)


def weights(folder: Path, data_folder: Path, manifest: Mapping[str, Any]) -> Path | None:
    """The weights of the model whose folder it is, or None when they are not here."""
    return model_files(folder / "model.json", data_folder, manifest).weights


def has_weights(folder: Path) -> bool:
    """Whether a folder without a manifest is a model's: those with a `.yml` are a file's each."""
    names = _names(folder)
    found = any(_is_weights(name) and is_file(folder / name) for name in names)
    return found and not any(map(is_yml, names))


def gguf_names(folder: Path) -> list[str]:
    """The files that can be a model's weights, or the first part of them, by their names."""
    return sorted(name for name in _names(folder) if _is_first(name) and is_file(folder / name))


def is_gguf(name: str) -> bool:
    """Whether a file of that name is weights, or a part of them; `notes.gguf.md` is not."""
    return name.lower().endswith(".gguf")


def is_yml(name: str) -> bool:
    """Whether a file of that name may be a manifest of Jan 0.5.8 or later."""
    return name.endswith(".yml") and name != METADATA and not name.startswith(".")


def is_file(path: str | Path) -> bool:
    """Links followed. False for what cannot be looked at: a name or link that is too long."""
    return os.path.isfile(path)  # noqa: PTH113


def _names(folder: str | Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return frozenset()


def _is_projector(name: str) -> bool:
    return is_gguf(name) and not name.startswith(".") and "mmproj" in name.lower()


def _is_weights(name: str) -> bool:
    return is_gguf(name) and not name.startswith(".") and "mmproj" not in name.lower()


def _is_first(name: str) -> bool:
    return _is_weights(name) and not is_later_part(name)


def _beside(document: Path, names: frozenset[str], manifest: Mapping[str, Any]) -> Iterable[str]:
    if is_gguf(document.name):
        return (document.name,)
    if document.suffix == ".yml":
        return (f"{document.stem}.gguf", *filter(_is_first, _sources(manifest)))
    return (*_sources(manifest), *sorted(filter(_is_first, names)), document.parent.name)


def _named(folder: str, data_folder: Path, manifest: Mapping[str, Any], key: str) -> Iterable[str]:
    settings = manifest.get("settings")
    named = settings.get(key) if isinstance(settings, Mapping) else None
    if not isinstance(named, str) or not named or "\0" in named:
        return ()
    if os.path.isabs(named):  # noqa: PTH117
        return (named,)
    return (f"{folder}/{named}", f"{data_folder}/{named}")


def _sources(manifest: Mapping[str, Any]) -> Iterable[str]:
    """The file names that downloads have: `sources[].filename`, else the end of the address."""
    listed = manifest.get("sources")
    sources = (
        [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    )
    sources.append({"url": manifest.get("source_url")})
    for source in sources:
        for name in (source.get("filename"), _last_segment(source.get("url"))):
            if isinstance(name, str) and _is_weights(name) and "/" not in name:
                yield name


def _last_segment(url: Any) -> str:
    return url.split("?")[0].rpartition("/")[2] if isinstance(url, str) else ""
