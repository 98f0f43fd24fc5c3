"""The Nth call fails, the process is killed before it, the power is cut after it: for every N there
is no model or a whole one, and an original that is to be moved goes last.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jan_server.errors import JanError, WriteUncertain
from jan_server.importing import import_model, select
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.store.system import System
from jan_server.types.importing import Mode
from tests.importing.conftest import small_gguf
from tests.store.failing import FailingSystem
from tests.store.forgetful import ForgetfulSystem, Tree, write_tree

MODES: list[Mode] = ["copy", "link", "move"]


def services_of(folder: Path, system: System) -> Services:
    services = Services(Settings(data_folder=folder / "jan", fsync=True))
    services.store.files.disk.system = system
    return services


def imported(folder: Path) -> bytes | None:
    """The weights of the one model that a new process finds."""
    found = Services(Settings(data_folder=folder / "jan", fsync=False)).models.list()
    return found[0].weights.read_bytes() if found and found[0].weights else None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("for_ever", [False, True])
def test_a_call_that_fails_leaves_no_model_or_a_whole_one(
    tmp_path: Path, mode: Mode, for_ever: bool
) -> None:
    nth, system = 0, FailingSystem(1)
    while nth == 0 or system.has_failed:
        nth += 1
        folder = tmp_path / str(nth)
        path = small_gguf(folder / "outside/m.gguf")
        data = path.read_bytes()
        system = FailingSystem(nth, for_ever=for_ever)
        services = services_of(folder, system)
        try:
            done = import_model(services.store, services.models, select([path]), mode=mode)
        except JanError as error:
            is_uncertain = isinstance(error, WriteUncertain)
            assert path.read_bytes() == data
            assert imported(folder) in ((None, data) if is_uncertain else (None,)), system.calls
            assert is_uncertain or for_ever or not list(folder.glob("jan/.jan_server/new/*"))
        else:
            assert imported(folder) == data
            assert path.exists() == (mode != "move" or done.originals_left == [str(path)])
    assert nth > 5


@pytest.mark.parametrize("mode", MODES)
def test_a_power_cut_leaves_no_model_or_a_whole_one(tmp_path: Path, mode: Mode) -> None:
    root = tmp_path / "real"
    path = small_gguf(root / "outside/m.gguf")
    data = path.read_bytes()
    Services(Settings(data_folder=root / "jan", fsync=False))
    system = ForgetfulSystem(root)
    services = services_of(root, system)
    import_model(services.store, services.models, select([path]), mode=mode)
    answered = system.possible()
    for number, state in enumerate({*answered, *system.states}):
        folder = write_tree(state, tmp_path / str(number))
        original = _file(state, "outside/m.gguf")
        found = imported_at(folder, root)
        assert found in (None, data)
        assert state not in answered or found == data
        assert data in (original, found)


def imported_at(folder: Path, real: Path) -> bytes | None:
    """As `imported`; a link still names the path that the file really has."""
    for manifest in folder.glob("jan/models/*/model.json"):
        manifest.write_text(manifest.read_text().replace(str(real), str(folder)))
    return imported(folder)


def _file(state: Tree, name: str) -> bytes | None:
    return dict(state).get(name)


@pytest.mark.skipif(not hasattr(sys, "abiflags"), reason="there is no fork here")
@pytest.mark.parametrize("mode", MODES)
def test_an_import_that_is_killed_leaves_no_model_or_a_whole_one(
    tmp_path: Path, mode: Mode
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.importing.killed", tmp_path / "folder", mode],
        capture_output=True,
        text=True,
        check=True,
    )
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["is_killed"] for line in seen] == [True] * (len(seen) - 1) + [False]
    for line in seen:
        assert line["model"] == line["is_whole"] or not line["model"]
        assert line["model"] or line["originals"] == [True, True]
        assert mode == "move" or line["originals"] == [True, True]
    assert [seen[0]["model"], seen[-1]["model"]] == [False, True]
    assert seen[-1]["originals"] == [mode != "move"] * 2
