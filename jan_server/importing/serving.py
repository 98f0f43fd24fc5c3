"""Imports that a request asks for, and what it may name.

A request that names paths is how local servers were made to read any file (CVE-2024-36857). So it
is only ever told whether there is a GGUF at a path, never why not; what a GGUF holds is told by the
model that it becomes. Files anywhere may be named where nobody but this machine can ask; else, or
when folders for that are set, only those in such a folder, links followed.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from threading import Event

from msgspec import UNSET, UnsetType

from jan_server.errors import (
    ImportNotAllowed,
    InvalidRequest,
    ModelCannotRun,
    NotImportable,
)
from jan_server.importing.placing import import_model
from jan_server.importing.selection import Selection, select
from jan_server.models import Models
from jan_server.settings import LOOPBACK_HOSTS, Settings
from jan_server.store import Store
from jan_server.types.importing import ImportedModel, ImportRequest, Mode

logger = logging.getLogger(__name__)

AT_ONCE = 2
"""Imports that copy at the same time; others wait."""


class Importing:
    """The imports of one server. `close` stops them: what they wrote is removed."""

    def __init__(self, settings: Settings, store: Store, *, models: Models) -> None:
        self._settings = settings
        self._store = store
        self._models = models
        self._stopped = Event()
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def import_model(self, request: ImportRequest) -> ImportedModel:
        """Answers when the model is there. Who asked may leave: it goes on.

        Raises InvalidRequest, ImportNotAllowed, NotImportable for a path that is no whole GGUF, and
        as placing.import_model.
        """
        async with self._slots:
            return await asyncio.to_thread(self._import, request)

    def close(self) -> None:
        self._stopped.set()

    def _import(self, request: ImportRequest) -> ImportedModel:
        path = _one_of(request.path, request.modelPath, "$.modelPath")
        if path is None:
            raise InvalidRequest("$.modelPath: it is missing.", param="$.modelPath")
        mode = _one_of(request.mode, request.option, "$.option") or "copy"
        modes: dict[str, Mode] = {"copy": "copy", "link": "link", "symlink": "link"}
        return import_model(
            self._store,
            self._models,
            self._select(path, request.mmproj or None),
            id=_one_of(request.id, request.model, "$.model"),
            name=request.name or None,
            mode=modes[mode],
            stopped=self._stopped,
        )

    def _select(self, path: str, mmproj: str | None) -> Selection:
        self._check_allowed(path, param="$.modelPath")
        if mmproj:
            self._check_allowed(mmproj, param="$.mmproj")
        try:
            _check_is_file(path)
            files = select([Path(path)], mmproj=Path(mmproj) if mmproj else None)
        except (ModelCannotRun, NotImportable) as error:
            logger.warning("A request named what cannot be imported: %s", error)
            raise NotImportable(
                "There is no whole GGUF file of a model at that path, as an absolute one. What is "
                "wrong stands in the server's log.",
                param="$.modelPath",
            ) from error
        for file in files.files:  # A part may be a link that leads elsewhere.
            self._check_allowed(str(file.path), param="$.modelPath")
        return files

    def _check_allowed(self, path: str, *, param: str) -> None:
        folders = self._settings.import_folder
        if not folders and self._settings.host in LOOPBACK_HOSTS:
            return
        real = _real(path)
        if not any(real.is_relative_to(os.path.realpath(folder)) for folder in folders):
            raise ImportNotAllowed(param=param)


def _one_of(ours: str | UnsetType, jans: str | UnsetType, param: str) -> str | None:
    """The value under either name. Raises InvalidRequest when they differ."""
    given = {value for value in (ours, jans) if value is not UNSET}
    if len(given) > 1:
        raise InvalidRequest(f"{param}: it is said twice, and differently.", param=param)
    return next(iter(given), None) or None


def _real(path: str) -> Path:
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # A NUL.
        return Path(os.devnull)


def _check_is_file(path: str) -> None:
    is_plain = os.path.isabs(path) and ".." not in Path(path).parts  # noqa: PTH117
    if not is_plain or not os.path.isfile(path):  # noqa: PTH113  # False for a NUL.
        raise NotImportable(f"{path[:200]!r} is no absolute path of a file.")
