from __future__ import annotations

import json
import signal
import subprocess
import sys

import httpx2
import pytest

from jan_server.cli.importing import told
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.types.importing import ImportedModel
from tests.conftest import tree
from tests.importing.conftest import small_gguf, split_gguf
from tests.running import served
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def bring(run, data_folder):
    return lambda *arguments: run("import", *map(str, arguments), "--data-folder", str(data_folder))


def test_a_file_is_copied_and_said(bring, tmp_path, data_folder):
    path = write_tiny_gguf(tmp_path / "My Tiny.gguf")
    done = bring(path)
    assert (done.exit_code, done.stdout) == (
        0,
        "models/My-Tiny/My Tiny.gguf: copied, 336.6 kB\nIt is the model My-Tiny.\n",
    )
    assert done.stderr == ""
    assert path.exists()


def test_on_a_terminal_a_bar_shows_how_far_it_is(bring, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # Else only a terminal is one.
    path = write_tiny_gguf(tmp_path / "[b]m.gguf")
    assert "[b]m.gguf" in bring(path).stderr
    assert bring(path, "--link", "--name", "l").stderr == ""  # There is nothing to copy.


@pytest.mark.parametrize(
    ("flag", "line", "stays"),
    [
        ("--copy", "models/mine/m.gguf: copied, 336.6 kB", True),
        ("--move", "models/mine/m.gguf: moved, 336.6 kB", False),
        ("--link", "{path}: linked to, 336.6 kB", True),
    ],
)
def test_a_file_is_copied_linked_or_moved(bring, tmp_path, flag, line, stays):
    path = write_tiny_gguf(tmp_path / "m.gguf")
    done = bring(path, flag, "--name", "mine")
    assert done.stdout == line.format(path=path) + "\nIt is the model mine.\n"
    assert path.exists() == stays


def test_json_has_all_that_is_known(bring, tmp_path):
    path = small_gguf(tmp_path / "m.gguf")
    size = path.stat().st_size
    said = json.loads(bring(path, "--json").stdout)
    assert said == {
        "id": "m",
        "object": "model",
        "imported": True,
        "mode": "copy",
        "files": [{"path": "models/m/m.gguf", "bytes": size, "sha256": said["files"][0]["sha256"]}],
    }


def test_a_glob_of_the_parts_of_one_model_works(bring, tmp_path, data_folder):
    parts = split_gguf(tmp_path / "parts")
    projector = small_gguf(tmp_path / "clip.gguf", architecture="clip")
    assert bring(*parts, "--mmproj", projector).exit_code == 0
    assert sorted(path.name for path in (data_folder / "models/big").iterdir()) == [
        *(part.name for part in parts),
        "mmproj-clip.gguf",
        "model.json",
    ]


def test_a_name_that_is_taken_is_said_and_how_to_choose_another(bring, tmp_path, data_folder):
    path = small_gguf(tmp_path / "m.gguf")
    bring(path)
    before = tree(data_folder)
    for arguments in ([path], [path, "--name", "m"]):
        done = bring(*arguments)
        assert (done.exit_code, done.stderr) == (
            1,
            "jan_server: There is already a model with the id 'm'. "
            "Choose another: --name, or `model` in a request.\n",
        )
    assert tree(data_folder) == before


def test_a_broken_file_is_one_line_and_nothing_is_made(bring, tmp_path, data_folder):
    (tmp_path / "m.gguf").write_text("<html>")
    done = bring(tmp_path / "m.gguf")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "text of a web page" in done.stderr
    assert tree(data_folder) == {}


def test_what_cannot_run_or_could_not_be_removed_is_said():
    done = ImportedModel(
        id="m", mode="move", files=[], originals_left=["/x/m.gguf"], cannot_run="No engine."
    )
    assert list(told(done)) == [
        "/x/m.gguf could not be removed, and is left",
        "It is the model m.",
        "It cannot run here: No engine.",
    ]


def test_a_server_that_runs_sees_the_model_and_answers_with_it(bring, tmp_path, data_folder):
    settings = Settings(data_folder=data_folder, fsync=False)
    with served(settings) as url:
        assert bring(write_tiny_gguf(tmp_path / "m.gguf")).exit_code == 0
        body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
        answer = httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=120)
        assert answer.status_code == 200, answer.text


# It waits in the middle of the copy until the signal comes.
WAITING = """
import signal, sys, time
from jan_server.cli import importing, main
class Bar:
    def __init__(self, name): pass
    def __enter__(self): return self.show
    def __exit__(self, *_): pass
    def show(self, done, total):
        print("copying", flush=True)
        time.sleep(600)
importing._bar = Bar
main(sys.argv[1:])
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_import_that_is_ended_makes_nothing(tmp_path, data_folder, how):
    path = small_gguf(tmp_path / "outside/m.gguf")
    before = tree(path.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, "import", path, "--data-folder", data_folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "copying\n"
    process.send_signal(how)
    _, said = process.communicate()
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: -15}.get(how, 1), said
    assert tree(path.parent) == before
    assert Services(Settings(data_folder=data_folder, fsync=False)).models.list() == []
    if how == signal.SIGINT:
        assert said.strip() == "Aborted!"
        assert list(data_folder.glob(".jan_server/new/*")) == []
