"""Where downloads are made: their records, the files that are not whole yet, and who is at which.

Whoever gets a model claims it: between the threads of this process, and between processes. The
system lets go of a claim when a process ends, however it ends.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from jan_server.downloads.records import SUFFIX, Records
from jan_server.store.files import Files
from jan_server.store.locks import Claim, Locks, file_name
from jan_server.store.replacing import TEMPORARY

ELSEWHERE = f"{TEMPORARY}download-"
"""Begins the name of a folder of partial files on another disk than the records'."""


class Workshop:
    """`.jan_server/downloads/` of one data folder. Holds nothing open; writes when it is used."""

    def __init__(self, folder: Path, *, files: Files, locks: Locks) -> None:
        self.folder = folder
        self.files = files
        self.records = Records(folder, files=files)
        self._locks = locks

    def __repr__(self) -> str:
        return f"<Workshop {self.folder}>"

    def claim(self, id: str) -> Claim | None:
        """None when somebody is at it. Raises as Locks.claim."""
        return self._locks.claim(f"download {id}")

    def is_claimed(self, id: str) -> bool:
        """Whether somebody is at it, in any process."""
        claim = self.claim(id)
        if claim is not None:
            claim.release(forget=True)
        return claim is None

    def partials(self, id: str, home: Path) -> Path:
        """The folder for a model's partial files, made when it is not there.

        `home` is where the model's folder is or will be: a finished file is renamed to there, so
        both are on one disk.
        """
        folder = self._partials(id, home)
        self.files.make_folders(folder)
        return folder

    def discard(self, id: str, home: Path) -> int:
        """Remove the record and the partial files of a claimed download: how many bytes."""
        folder = self._partials(id, home)
        freed = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
        shutil.rmtree(folder, ignore_errors=True)
        self.records.remove(id)
        return freed

    def sweep(self) -> None:
        """Remove partial files that have no record: nobody will go on with them."""
        for folder in self.folder.iterdir() if self.folder.is_dir() else ():
            if folder.is_dir() and not folder.with_name(f"{folder.name}{SUFFIX}").exists():
                shutil.rmtree(folder, ignore_errors=True)

    def _partials(self, id: str, home: Path) -> Path:
        self.files.make_folders(self.folder)
        self.files.make_folders(home)
        if home.stat().st_dev == self.folder.stat().st_dev:
            return self.folder / file_name(id)
        return home / f"{ELSEWHERE}{file_name(id)}"
