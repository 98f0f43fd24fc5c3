"""Which file of a model's folder holds its weights. Reads names only, writes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def weights(folder: Path, data_folder: Path, manifest: Mapping[str, Any]) -> Path | None:
    """The weights, or None when they are not here. They may lie anywhere: links are followed.

    In Jan's order: the path that the manifest names, the file that it was to be downloaded to, the
    first `.gguf`, and a file named like the folder (what Jan 0.4.4's API downloaded).
    """
    candidates = (
        *_named(folder, data_folder, manifest),
        *(folder / name for name in _sources(manifest)),
        *(folder / name for name in gguf_names(folder)),
        folder / folder.name,
    )
    return next(filter(is_file, candidates), None)


def has_weights(folder: Path) -> bool:
    """Whether a folder without a manifest is a model's."""
    return bool(gguf_names(folder))


def gguf_names(folder: Path) -> list[str]:
    """The files that can be a model's whole weights, in the order of their names."""
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except OSError:
        return []
    return sorted(name for name in names if _is_whole(name) and is_file(folder / name))


def is_gguf(name: str) -> bool:
    """Whether a file of that name is weights, or a part of them; `notes.gguf.md` is not."""
    return name.lower().endswith(".gguf")


def is_file(path: Path) -> bool:
    """Links followed. False for what cannot be looked at: a name or link that is too long."""
    try:
        return path.is_file()
    except OSError:
        return False


def _is_whole(name: str) -> bool:
    return is_gguf(name) and not name.startswith(".") and "mmproj" not in name.lower()


def _named(folder: Path, data_folder: Path, manifest: Mapping[str, Any]) -> Iterable[Path]:
    settings = manifest.get("settings")
    named = settings.get("llama_model_path") if isinstance(settings, Mapping) else None
    if not isinstance(named, str) or not named or "\0" in named:
        return ()
    return (folder / named, data_folder / named)  # An absolute path stays what it is.


def _sources(manifest: Mapping[str, Any]) -> Iterable[str]:
    """The file names that downloads have: `sources[].filename`, else the end of the address."""
    listed = manifest.get("sources")
    sources = (
        [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    )
    sources.append({"url": manifest.get("source_url")})
    for source in sources:
        for name in (source.get("filename"), _last_segment(source.get("url"))):
            if isinstance(name, str) and _is_whole(name) and "/" not in name:
                yield name


def _last_segment(url: Any) -> str:
    return url.split("?")[0].rpartition("/")[2] if isinstance(url, str) else ""
