"""Kills an import before its first changing call of the system, then before its second ...

    python -m tests.importing.killed FOLDER MODE

Each line that it prints is what is there then: JSON, for the test beside this. In a process of its
own, which has no threads: each import runs in a fork of it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from jan_server.importing import import_model, select
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.types.importing import Mode
from tests.importing.conftest import split_gguf
from tests.store.failing import FailingSystem


class KillingSystem(FailingSystem):
    """The process ends, as by a power cut, before the Nth call."""

    def _call(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._is_due():
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._call(name, function, *arguments)


def killed_before(nth: int, folder: Path, mode: Mode) -> bool:
    """False when the import ended before that call."""
    process = os.fork()
    if process == 0:
        services = opened(folder)
        services.store.files.disk.system = KillingSystem(nth)
        import_model(services.store, services.models, selected(folder), mode=mode)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def opened(folder: Path) -> Services:
    return Services(Settings(data_folder=folder / "jan", fsync=True))


def selected(folder: Path) -> Any:
    return select([folder / "outside/big-00001-of-00002.gguf"])


def seen(folder: Path, data: list[bytes]) -> dict[str, Any]:
    """What a new process finds: each original, and the model, if there is one."""
    models = opened(folder).models.list()
    left = {path.read_bytes() for path in folder.glob("outside/*")}
    found = sorted(models[0].weights.parent.glob("*.gguf")) if models else []
    return {
        "originals": [part in left for part in data],
        "model": bool(models),
        "is_whole": [path.read_bytes() for path in found] == data,
    }


def main(folder: Path, mode: Mode) -> None:
    nth, is_killed = 0, True
    while is_killed:
        nth += 1
        shutil.rmtree(folder, ignore_errors=True)
        data = [path.read_bytes() for path in split_gguf(folder / "outside", count=2)]
        opened(folder)
        is_killed = killed_before(nth, folder, mode)
        print(json.dumps({"is_killed": is_killed, **seen(folder, data)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), cast(Mode, sys.argv[2]))
