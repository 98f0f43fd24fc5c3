"""A data folder that is only looked at.

Every call that would change something refuses, so no way through the code can write by accident.
What we keep for ourselves, fitted copies above all, lies in the user's cache folder instead.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, NoReturn

import platformdirs

from jan_server.errors import ReadOnly, SettingsInvalid


class Refusing:
    """The calls of `system.System`: each raises ReadOnly, and none reaches the disk."""

    def _refuse(self, *_arguments: Any, **_options: Any) -> NoReturn:
        raise ReadOnly

    open = write = fsync = ftruncate = fchmod = _refuse
    replace = exchange = rename = mkdir = unlink = link = _refuse


def own_folder(root: Path) -> Path:
    """Where our own things of this data folder lie: below the user's cache folder.

    Raises SettingsInvalid when that itself lies in the data folder.
    """
    cache = platformdirs.user_cache_path("jan_server")
    if Path(os.path.realpath(cache)).is_relative_to(root):
        raise SettingsInvalid(
            f"--read-only keeps its own files in {cache}, and that lies in the data folder. "
            "Set XDG_CACHE_HOME to another folder."
        )
    name = hashlib.blake2b(os.fsencode(root), digest_size=8).hexdigest()
    return cache / f"{root.name}-{name}"


def check_readable(root: Path) -> None:
    """Raises SettingsInvalid when there is nothing to look at."""
    if not root.is_dir():
        raise SettingsInvalid(f"The data folder {root} is not there, and --read-only makes none.")
    if not os.access(root, os.R_OK | os.X_OK):
        raise SettingsInvalid(f"The data folder {root} is not readable.")
