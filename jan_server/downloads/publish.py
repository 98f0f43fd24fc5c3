"""What must be known before a file can be published: its name, whether it is there, room for it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from jan_server.errors import DiskFull, DownloadFailed
from jan_server.types.model import Source

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+ -]{0,199}")


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


def check_space(folder: Path, needed: int) -> None:
    """Raise DiskFull unless so many bytes fit beside what is there."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskFull(
            f"{needed / 1e6:.0f} MB are needed in {folder}, "
            f"but only {free / 1e6:.0f} MB are free there."
        )
