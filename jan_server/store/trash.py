"""Deleting is moving: `.jan_server/trash/<UTC time>/<kind>/<id>/`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from jan_server.store.files import Files


class Trash:
    """A folder of deletions, each in a folder named after its moment."""

    def __init__(self, path: Path, files: Files) -> None:
        self._path = path
        self._files = files

    def __repr__(self) -> str:
        return f"<Trash {self._path}>"

    def take(self, paths: Sequence[Path], *, below: str) -> Path:
        """Move these files or folders here, in one deletion; its folder `<time>/<below>`.

        A link is moved, not what it leads to.
        """
        target = self._new_deletion() / below
        self._files.make_folders(target)
        self._files.move_into(target, paths)
        return target

    def free(self, trashed: Path) -> None:
        """Remove a deletion for good. `trashed` is what `take` answered; links are not followed.

        Raises ValueError for a path that is not in the trash.
        """
        parts = trashed.relative_to(self._path).parts
        if not parts or ".." in parts:
            raise ValueError(f"{trashed} is not a deletion")
        shutil.rmtree(self._path / parts[0])

    def free_files(self, trashed: Path, is_meant: Callable[[str], bool]) -> None:
        """Remove files of one trashed folder for good; links are removed, not followed."""
        trashed.relative_to(self._path)
        for path in trashed.iterdir():
            if is_meant(path.name) and (path.is_symlink() or path.is_file()):
                path.unlink()

    def _new_deletion(self) -> Path:
        self._files.make_folders(self._path)
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        number = 1
        while True:
            deletion = self._path / (moment if number == 1 else f"{moment}-{number}")
            try:
                self._files.make_folder(deletion)
            except FileExistsError:
                number += 1
            else:
                return deletion
