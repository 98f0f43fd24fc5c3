"""Copies, links and moves; each fault leaves the originals as they are, and no model."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import namedtuple
from pathlib import Path
from threading import Event

import msgspec
import pytest

from jan_server.engines.llama_cpp import package
from jan_server.errors import (
    AlreadyExists,
    DiskFull,
    ImportFailed,
    ImportStopped,
    InvalidId,
    LiesOutside,
    NotImportable,
    ReadOnly,
)
from jan_server.importing import import_model, originals, placing, select
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.store import Store
from jan_server.store.system import OperatingSystem
from jan_server.types.importing import ImportedFile
from tests.conftest import tree
from tests.importing.conftest import small_gguf, split_gguf
from tests.tiny_gguf import write_tiny_gguf

MODES = ["copy", "link", "move"]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest(data_folder, id):
    return json.loads((data_folder / "models" / id / "model.json").read_text())


def unfinished(data_folder):
    return list(data_folder.glob(".jan_server/new/*"))


def nothing_is_left(data_folder):
    """No model, and nothing of ours that would be one."""
    return [*(data_folder / "models").iterdir(), *unfinished(data_folder)] == []


# --- what becomes of the files ---------------------------------------------------------------


def test_a_copy_is_whole_has_its_sum_and_leaves_the_original(bring, outside, data_folder, services):
    path = write_tiny_gguf(outside / "My Tiny.gguf")
    data = path.read_bytes()
    done = bring(path)
    assert done.files == [
        ImportedFile(path="models/My-Tiny/My Tiny.gguf", bytes=len(data), sha256=sha256(data))
    ]
    assert (done.id, done.mode, path.read_bytes()) == ("My-Tiny", "copy", data)
    copy = data_folder / "models/My-Tiny/My Tiny.gguf"
    assert copy.read_bytes() == data
    assert not os.path.samestat(copy.stat(), path.stat())
    assert services.store.sums.of(copy).sha256 == sha256(data)
    said = manifest(data_folder, "My-Tiny")
    assert said["sources"] == [
        {"filename": "My Tiny.gguf", "size": len(data), "sha256": sha256(data)}
    ]
    assert services.models.ready("My-Tiny").weights == copy
    assert unfinished(data_folder) == []


def test_a_link_names_the_file_where_it_is_and_reads_nothing_of_it(
    bring, outside, data_folder, services
):
    path = write_tiny_gguf(outside / "m.gguf")
    done = bring(path, mode="link")
    assert done.files == [ImportedFile(path=str(path), bytes=path.stat().st_size)]
    assert [file.name for file in (data_folder / "models/m").iterdir()] == ["model.json"]
    assert manifest(data_folder, "m")["settings"]["llama_model_path"] == str(path)
    assert services.models.ready("m").weights == path


def test_a_move_within_a_disk_keeps_the_very_file(bring, outside, data_folder):
    path = write_tiny_gguf(outside / "m.gguf")
    inode = path.stat().st_ino
    done = bring(path, mode="move")
    assert done.files == [
        ImportedFile(path="models/m/m.gguf", bytes=(data_folder / "models/m/m.gguf").stat().st_size)
    ]
    assert not path.exists()
    assert (data_folder / "models/m/m.gguf").stat().st_ino == inode


@pytest.mark.parametrize("mode", MODES)
def test_all_parts_and_the_projector_go_along(bring, outside, data_folder, services, mode):
    parts = split_gguf(outside)
    projector = small_gguf(outside / "clip.gguf", architecture="clip")
    data = [path.read_bytes() for path in (*parts, projector)]
    done = bring(parts[1], mmproj=projector, mode=mode)
    assert [file.bytes for file in done.files] == list(map(len, data))
    assert [services.store.root.joinpath(file.path).read_bytes() for file in done.files] == data
    settings = manifest(data_folder, "big")["settings"]
    assert [Path(settings[key]).name for key in ("llama_model_path", "mmproj")] == [
        "big-00001-of-00003.gguf",
        "clip.gguf" if mode == "link" else "mmproj-clip.gguf",
    ]
    assert services.models.get("big").weights.name == "big-00001-of-00003.gguf"
    assert [path.exists() for path in (*parts, projector)] == [mode != "move"] * 4


@pytest.mark.parametrize("mode", MODES)
def test_a_model_gets_the_id_and_the_name_that_are_asked_for(bring, outside, data_folder, mode):
    done = bring(small_gguf(outside / "m.gguf"), id="org/m", name="Mine", mode=mode)
    assert done.id == "org/m"
    said = manifest(data_folder, "org/m")
    assert (said["id"], said["name"]) == ("org/m", "Mine")


def test_what_cannot_run_here_is_imported_and_said(bring, outside, monkeypatch):
    monkeypatch.setattr(package, "PACKAGE", "not_installed")
    done = bring(small_gguf(outside / "m.gguf", architecture="steam"))
    assert "The engine llama-cpp is not installed" in done.cannot_run


def test_progress_is_told_over_all_files(bring, outside):
    parts = split_gguf(outside)
    total = sum(part.stat().st_size for part in parts)
    told = []
    bring(parts[0], on_progress=lambda done, all: told.append((done, all)))
    assert told[-1] == (total, total)
    assert len(told) == 3


def test_a_model_that_another_server_runs_beside_is_seen_by_it(client, bring, outside):
    assert client.get("/v1/models/m").status_code == 404
    bring(small_gguf(outside / "m.gguf"))
    assert client.get("/v1/models/m").json()["state"] == "downloaded"


def test_the_model_is_told_once_and_as_ours(services, outside, data_folder):
    told = []
    store = Store(data_folder, fsync=False, publish=told.append)
    store.look_everywhere()
    import_model(store, services.models, select([small_gguf(outside / "m.gguf")]))
    store.look_everywhere()
    assert [(event.id, event.change, event.cause) for event in told] == [("m", "created", "api")]


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("file", "id"),
    [
        ("models/taken/model.json", "taken"),
        ("models/taken/x.gguf", "taken"),
        ("models/taken", "taken"),
        ("models/other/model.json", "inner"),
        (None, "smollm2-135m-instruct"),
        ("models/org/model.json", "org/m"),
    ],
)
def test_nothing_is_overwritten(bring, outside, write, data_folder, mode, file, id):
    path = small_gguf(outside / "m.gguf")
    if file:
        write(file, '{"id": "inner"}')
    before = tree(data_folder), tree(outside)
    with pytest.raises(AlreadyExists) as caught:
        bring(path, id=id, mode=mode)
    assert "--name" in caught.value.message
    assert (tree(data_folder), tree(outside)) == before


def test_a_broken_manifest_holds_its_name(bring, outside, write):
    write("models/taken/model.json", "{")
    with pytest.raises(AlreadyExists):
        bring(small_gguf(outside / "m.gguf"), id="taken")


def test_a_short_name_of_another_model_is_free(bring, outside, services):
    assert services.models.get("tinyllama").id == "tinyllama-1.1b"
    assert bring(small_gguf(outside / "tinyllama.gguf")).id == "tinyllama"
    assert services.models.get("tinyllama").id == "tinyllama"


@pytest.mark.parametrize("id", ["../x", "a b", "x/download", "", ".x"])
def test_an_id_that_cannot_be_new_makes_nothing(bring, outside, data_folder, id):
    path = small_gguf(outside / "m.gguf")
    if id:
        with pytest.raises(InvalidId):
            bring(path, id=id)
        assert nothing_is_left(data_folder)
    else:
        assert bring(path, id=id).id == "m"  # As if none was said.


@pytest.mark.parametrize("mode", MODES)
def test_a_name_that_is_taken_meanwhile_is_not_overwritten(
    bring, outside, data_folder, monkeypatch, mode
):
    path = small_gguf(outside / "m.gguf")

    def taken(files):
        (data_folder / "models/m").mkdir()
        (data_folder / "models/m/model.json").write_text('{"name": "Theirs"}')
        return "M"

    monkeypatch.setattr(placing, "shown_name", taken)
    with pytest.raises(AlreadyExists) as caught:
        bring(path, mode=mode)
    assert "--name" in caught.value.message
    assert manifest(data_folder, "m") == {"name": "Theirs"}
    assert path.exists()
    assert unfinished(data_folder) == []


@pytest.mark.parametrize("mode", ["copy", "link"])
def test_of_the_same_import_several_times_at_once_one_makes_the_model(
    settings, outside, data_folder, mode
):
    path = write_tiny_gguf(outside / "m.gguf")
    data, outcomes = path.read_bytes(), []
    start = threading.Barrier(4, timeout=60)

    def run():
        services = Services(settings)
        files = select([path])
        start.wait()
        try:
            done = import_model(services.store, services.models, files, mode=mode)
        except AlreadyExists as error:
            outcomes.append(error.code)
        else:
            outcomes.append(done.id)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["already_exists"] * 3 + ["m"]
    assert Services(settings).models.ready("m").weights.read_bytes() == data
    assert unfinished(data_folder) == []


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_written_through_a_link_above_the_model(
    bring, outside, tmp_path, data_folder, mode
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (data_folder / "models/org").symlink_to(elsewhere)
    with pytest.raises(LiesOutside):
        bring(small_gguf(outside / "m.gguf"), id="org/m", mode=mode)
    assert list(elsewhere.iterdir()) == []
    assert (outside / "m.gguf").exists()


# --- faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_read_only_folder_gets_no_model(data_folder, outside, mode, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data_folder.mkdir()
    services = Services(Settings(data_folder=data_folder, read_only=True))
    files = select([small_gguf(outside / "m.gguf")])
    with pytest.raises(ReadOnly):
        import_model(services.store, services.models, files, mode=mode)
    assert tree(data_folder) == {}


Usage = namedtuple("Usage", "total used free")


def test_room_is_made_and_looked_for_before_anything_is_written(
    bring, outside, data_folder, monkeypatch
):
    path = small_gguf(outside / "m.gguf")
    monkeypatch.setattr(placing.shutil, "disk_usage", lambda _path: Usage(1, 1, 100_000))
    bring(path, id="fits")
    monkeypatch.setattr(placing.shutil, "disk_usage", lambda _path: Usage(1, 1, 10))
    with pytest.raises(DiskFull) as caught:
        bring(path)
    assert caught.value.message.startswith("0 MB are needed, and 0 MB are free")
    assert not (data_folder / "models/m").exists()
    bring(path, id="link", mode="link")  # Needs none.
    bring(path, id="moved", mode="move")


def test_weights_in_the_trash_give_way(bring, outside, services, write, monkeypatch):
    path = small_gguf(outside / "m.gguf")
    asked = []
    monkeypatch.setattr(services.store, "make_room", asked.append)
    bring(path, id="a")
    bring(path, id="b", mode="move")
    assert asked == [(services.store.models.get("a").folder / "m.gguf").stat().st_size]


class Full(OperatingSystem):
    """The disk has no room for more than some bytes."""

    def write(self, fd, data, /):
        if len(data) > 10_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(fd, data)


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(bring, outside, data_folder, services):
    path = write_tiny_gguf(outside / "m.gguf")
    services.store.files.disk.system = Full()
    with pytest.raises(DiskFull) as caught:
        bring(path)
    assert caught.value.message == "The disk is full: m.gguf was not imported."
    assert nothing_is_left(data_folder)


@pytest.mark.parametrize("mode", ["copy", "move"])
def test_a_source_that_goes_meanwhile_leaves_nothing(services, outside, data_folder, mode):
    path = small_gguf(outside / "m.gguf")
    files = select([path])
    path.unlink()
    with pytest.raises(ImportFailed) as caught:
        import_model(services.store, services.models, files, mode=mode)
    assert caught.value.message == "m.gguf cannot be read: No such file or directory."
    assert nothing_is_left(data_folder)


@pytest.mark.parametrize("mode", ["copy", "move"])
def test_a_source_that_changed_since_its_header_was_read_is_not_taken(
    services, outside, data_folder, mode
):
    path = small_gguf(outside / "m.gguf")
    files = select([path])
    path.write_bytes(path.read_bytes() + b"more")
    before = tree(outside)
    with pytest.raises(ImportFailed) as caught:
        import_model(services.store, services.models, files, mode=mode)
    assert "m.gguf was changed while it was imported" in caught.value.message
    assert tree(outside) == before
    assert nothing_is_left(data_folder)


def test_a_source_that_changes_while_it_is_copied_is_not_taken(
    bring, outside, data_folder, monkeypatch
):
    monkeypatch.setattr(originals, "CHUNK", 100_000)
    path = write_tiny_gguf(outside / "m.gguf")

    def write_to_it(_done, _total):
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"x")

    with pytest.raises(ImportFailed) as caught:
        bring(path, on_progress=write_to_it)
    assert "m.gguf was changed while it was imported" in caught.value.message
    assert nothing_is_left(data_folder)


def test_a_stop_leaves_nothing(bring, outside, data_folder, monkeypatch):
    monkeypatch.setattr(originals, "CHUNK", 100_000)
    path, stopped = write_tiny_gguf(outside / "m.gguf"), Event()
    with pytest.raises(ImportStopped):
        bring(path, stopped=stopped, on_progress=lambda _done, _total: stopped.set())
    assert nothing_is_left(data_folder)


def test_ctrl_c_leaves_nothing(bring, outside, data_folder):
    def interrupt(_done, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(write_tiny_gguf(outside / "m.gguf"), on_progress=interrupt)
    assert nothing_is_left(data_folder)


def test_what_a_crash_left_is_removed_after_an_hour(bring, outside, services):
    work = services.store.work_folder("new")
    for name, age in {"old": 3700, "young": 60}.items():
        folder = work / f"{placing.SCRATCH}{name}"
        small_gguf(folder / "model/m.gguf")
        for path in (folder / "model/m.gguf", folder / "model", folder):
            then = path.stat().st_mtime - age
            os.utime(path, (then, then))
    bring(small_gguf(outside / "m.gguf"))
    assert [path.name for path in work.iterdir()] == [f"{placing.SCRATCH}young"]


@pytest.fixture
def other_disk():
    """A folder on another disk than pytest's."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        pytest.skip("there is no second disk here")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.mark.parametrize("mode", MODES)
def test_a_source_on_another_disk(bring, other_disk, data_folder, mode):
    path = write_tiny_gguf(other_disk / "m.gguf")
    assert path.stat().st_dev != data_folder.stat().st_dev
    data = path.read_bytes()
    done = bring(path, mode=mode)
    assert (data_folder / done.files[0].path).read_bytes() == data
    assert path.exists() == (mode != "move")
    assert [file.sha256 for file in done.files] == [
        msgspec.UNSET if mode == "link" else sha256(data)
    ]


@pytest.mark.parametrize("mode", ["copy", "move"])
def test_models_on_another_disk_are_made_there(other_disk, outside, data_folder, settings, mode):
    data_folder.mkdir()
    (data_folder / "models").symlink_to(other_disk)
    services = Services(settings)
    files = select([small_gguf(outside / "m.gguf")])
    import_model(services.store, services.models, files, mode=mode)
    assert [path.name for path in other_disk.iterdir()] == ["m"]
    assert services.models.get("m").weights == other_disk / "m/m.gguf"


class NoSecondNames(OperatingSystem):
    """As FAT, and as a file that is another user's."""

    def link(self, src, dst):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def test_where_a_file_gets_no_second_name_a_move_copies_first(
    bring, outside, data_folder, services, monkeypatch
):
    path = write_tiny_gguf(outside / "m.gguf")
    data = path.read_bytes()
    services.store.files.disk.system = NoSecondNames()
    monkeypatch.setattr(placing.shutil, "disk_usage", lambda _path: Usage(1, 1, 10))
    with pytest.raises(DiskFull):
        bring(path, mode="move")
    assert nothing_is_left(data_folder)
    monkeypatch.undo()
    done = bring(path, mode="move")
    assert done.files[0].sha256 == sha256(data)
    assert (data_folder / "models/m/m.gguf").read_bytes() == data
    assert not path.exists()


def test_a_link_is_not_moved(bring, outside, data_folder):
    path = small_gguf(outside / "m.gguf")
    (outside / "link.gguf").symlink_to(path)
    with pytest.raises(NotImportable) as caught:
        bring(outside / "link.gguf", mode="move")
    assert "is a link: to move it would not move the file" in caught.value.message
    assert nothing_is_left(data_folder)
    assert bring(outside / "link.gguf").id == "link"
    assert not (data_folder / "models/link/link.gguf").is_symlink()


def test_an_original_that_is_another_file_by_now_is_left(
    bring, outside, data_folder, services, monkeypatch
):
    path = small_gguf(outside / "m.gguf")
    adopt = services.store.models.folders.adopt

    def replaced(id, staged):
        path.unlink()
        path.write_text("theirs")
        return adopt(id, staged)

    monkeypatch.setattr(services.store.models.folders, "adopt", replaced)
    done = bring(path, mode="move")
    assert done.originals_left == [str(path)]
    assert path.read_text() == "theirs"
    assert (data_folder / "models/m/m.gguf").exists()


class NothingIsRemoved(OperatingSystem):
    def unlink(self, path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_an_original_that_cannot_be_removed_is_told(bring, outside, services):
    path = small_gguf(outside / "m.gguf")
    services.store.files.disk.system = NothingIsRemoved()
    assert bring(path, mode="move").originals_left == [str(path)]
    assert services.models.ready("m")


def test_a_path_that_is_not_utf8_is_not_linked(bring, outside, data_folder):
    path = small_gguf(outside / "b\udcff.gguf")
    with pytest.raises(NotImportable) as caught:
        bring(path, mode="link")
    assert "is not UTF-8" in caught.value.message
    assert bring(path).files[0].path == "models/b/model.gguf"


def test_that_a_sum_cannot_be_recorded_is_no_failure(bring, outside, services, write):
    write(".jan_server/sums.json/x", "a folder stands there")
    assert bring(small_gguf(outside / "m.gguf")).id == "m"


UNPRIVILEGED = """
import ctypes, os, sys
if os.geteuid() == 0:
    for capability in (1, 2, 3):
        assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0
os.execv(sys.executable, [sys.executable, "-m", "jan_server", *sys.argv[1:]])
"""


def unprivileged(*arguments):
    """What a command says that is not root's, whoever runs the tests."""
    return subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux lets root do without its rights"
)


@linux_only
@pytest.mark.parametrize("mode", MODES)
def test_a_folder_that_may_not_be_written_to_is_said(outside, data_folder, mode, services):
    path = small_gguf(outside / "m.gguf")
    (data_folder / "models").chmod(0o500)
    try:
        done = unprivileged("import", path, f"--{mode}", "--data-folder", data_folder)
    finally:
        (data_folder / "models").chmod(0o700)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be changed" in done.stderr
    assert nothing_is_left(data_folder)
    assert path.exists()


@linux_only
@pytest.mark.parametrize("mode", MODES)
def test_a_source_that_may_not_be_read_is_said(outside, data_folder, mode, services):
    path = small_gguf(outside / "m.gguf")
    path.chmod(0)
    done = unprivileged("import", path, f"--{mode}", "--data-folder", data_folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "jan_server: m.gguf cannot be read: Permission denied.\n"
    assert nothing_is_left(data_folder)


@linux_only
def test_an_original_in_a_folder_that_may_not_be_changed_is_left_and_said(
    outside, data_folder, services
):
    path = small_gguf(outside / "m.gguf")
    outside.chmod(0o500)
    try:
        done = unprivileged("import", path, "--move", "--data-folder", data_folder)
    finally:
        outside.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert f"{path} could not be removed, and is left" in done.stdout
    assert (data_folder / "models/m/m.gguf").read_bytes() == path.read_bytes()
