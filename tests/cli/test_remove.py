from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from functools import partial

import httpx2
import pytest

from jan_server.cli.remove import told
from jan_server.settings import Settings
from jan_server.types.model import DeletedModel, RemovedFile
from tests.conftest import tree
from tests.running import served
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def run(run, data_folder):
    return partial(run, "remove", "--data-folder", str(data_folder))


@pytest.fixture
def tiny(write, data_folder):
    write("models/tiny/model.json", "{}")
    write("models/tiny/notes.txt", "my notes")
    write_tiny_gguf(data_folder / "models/tiny/tiny.gguf")
    return "tiny"


def deletion(data_folder):
    [path] = (data_folder / ".jan_server/trash").iterdir()
    return path.name


def test_a_model_goes_to_the_trash_and_all_is_told(run, tiny, data_folder):
    done = run("tiny")
    assert (done.exit_code, done.stdout.splitlines()) == (
        0,
        [
            "models/tiny/model.json: in the trash, 2 B",
            "models/tiny/notes.txt: in the trash, 8 B (not the model's, but in its folder)",
            "models/tiny/tiny.gguf: in the trash, 336.6 kB",
            "tiny is removed: 336.6 kB in the trash.",
            "What is in the trash comes back with: "
            f"python -m jan_server trash restore {deletion(data_folder)}",
        ],
    )


def test_now_frees_at_once(run, tiny):
    lines = run("tiny", "--now").stdout.splitlines()
    assert lines[2:4] == [
        "models/tiny/tiny.gguf: freed, 336.6 kB",
        "tiny is removed: 336.6 kB freed, 10 B in the trash.",
    ]


def test_json_is_what_the_api_answers(run, tiny, data_folder):
    said = json.loads(run("tiny", "--json").stdout)
    assert (said["id"], said["deletion"]) == ("tiny", deletion(data_folder))
    assert [file["path"] for file in said["files"]] == [
        f"models/tiny/{name}" for name in ("model.json", "notes.txt", "tiny.gguf")
    ]


def test_a_server_that_runs_unloads_it_first(run, echo, data_folder):
    with served(Settings(data_folder=data_folder, fsync=False)) as url:
        httpx2.post(f"{url}/v1/models/{echo}/start", timeout=60).raise_for_status()
        done = run(echo, "--now")
        assert done.exit_code == 0, done.output
        assert "echo is removed" in done.stdout
        assert httpx2.get(f"{url}/healthz").json()["models"] == []
        assert httpx2.get(f"{url}/v1/models/{echo}").status_code == 404
        failed = run(echo)
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "No model has the id 'echo'" in failed.stderr


@pytest.mark.parametrize(
    ("id", "said"),
    [
        ("nope", "No model has the id 'nope'"),
        ("tinyllama-1.1b", "known but not downloaded"),
        ("broken", "models/broken/model.json:1:2"),
        ("..", "is not a valid model id"),
    ],
)
def test_what_cannot_be_removed_is_one_line(run, write, data_folder, id, said):
    write("models/broken/model.json", "{")
    before = tree(data_folder)
    done = run(id)
    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.stderr
    assert tree(data_folder) == before


def test_a_folder_that_is_read_only_stays_as_it_is(run, tiny, write, data_folder):
    write(".jan_server/settings.toml", "read-only = true")
    before = tree(data_folder)
    done = run("tiny")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "This server is read-only" in done.stderr
    assert tree(data_folder) == before


@pytest.mark.parametrize(
    ("flags", "answer", "asks", "is_removed"),
    [
        ((), "y\n", "Remove tiny, 336.6 kB to the trash? [y/N]: ", True),
        ((), "n\n", "Remove tiny, 336.6 kB to the trash? [y/N]: ", False),
        ((), "\n", "Remove tiny, 336.6 kB to the trash? [y/N]: ", False),
        (
            ("--now",),
            "y\n",
            "Remove tiny, 336.6 kB and free its space at once, for good? [y/N]: ",
            True,
        ),
        (("--yes",), "", "", True),
    ],
)
def test_on_a_terminal_it_asks(tiny, data_folder, flags, answer, asks, is_removed):
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    done = subprocess.run(
        [
            *(sys.executable, "-m", "jan_server", "remove", tiny, *flags),
            *("--data-folder", data_folder),
        ],
        stdin=theirs,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert done.stderr == asks + ("" if is_removed else "Aborted!\n")
    assert (data_folder / "models/tiny").exists() == (not is_removed)
    assert done.returncode == (0 if is_removed else 1)


def test_an_unknown_model_is_not_asked_about(data_folder, tiny):
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "jan_server", "remove", "nope", "--data-folder", data_folder],
        stdin=theirs,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 1
    assert done.stderr.startswith("jan_server: No model has the id 'nope'")


def test_what_is_kept_and_what_is_not_listed_is_told():
    kept = RemovedFile(path="/x/\x1b.gguf", bytes=5, fate="kept", why="lies outside")
    done = DeletedModel(id="m", deletion="d", files=[kept], more=1200)
    assert list(told(done)) == [
        "/x/\\x1b.gguf: kept, 5 B (lies outside)",
        "and 1,200 more",
        "m is removed: nothing was freed.",
    ]
