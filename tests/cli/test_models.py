from __future__ import annotations

import json
from functools import partial

import httpx2
import pytest

from jan_server.settings import Settings
from tests.cli.terminal import Terminal
from tests.conftest import tree
from tests.running import served
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def run(run, data_folder):
    return partial(run, "models", "--data-folder", str(data_folder))


@pytest.fixture
def tiny(write, data_folder):
    """A real model without a manifest; the size of its file."""
    write("models/tiny/notes.txt", "mine")
    path = data_folder / "models/tiny/tiny.gguf"
    write_tiny_gguf(path, extra_metadata={"general.file_type": 15})
    return path.stat().st_size


ECHO = {
    "id": "echo",
    "size": None,
    "quantization": None,
    "engine": "echo",
    "state": "downloaded",
    "loaded": False,
    "problem": None,
}


def test_they_are_listed_with_what_runs_them(run, echo, tiny, data_folder):
    before = tree(data_folder)
    done = run()
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "ID    SIZE      QUANTIZATION  ENGINE         STATE       LOADED",
        "echo                          echo           downloaded",
        f"tiny  {tiny / 1000:.1f} kB  Q4_K_M        ctransformers  downloaded",
    ]
    assert tree(data_folder) == before
    assert not (data_folder / ".jan_server").exists()


def test_json_is_an_array(run, echo, tiny):
    assert json.loads(run("--json").stdout) == [
        ECHO,
        {**ECHO, "id": "tiny", "size": tiny, "quantization": "Q4_K_M", "engine": "ctransformers"},
    ]


def test_all_adds_those_of_the_catalogue(run, echo):
    [first, *rest] = json.loads(run("--all", "--json").stdout)
    assert first == ECHO
    [default] = [each for each in rest if each["id"] == "smollm2-135m-instruct"]
    assert default == {
        "id": "smollm2-135m-instruct",
        "size": 98_362_432,
        "quantization": "Q4_1",
        "engine": "ctransformers",
        "state": "not_downloaded",
        "loaded": False,
        "problem": None,
    }


def test_none_is_a_sentence_or_an_empty_array(run, write):
    write("threads/a/thread.json", {})
    assert "`models --all` shows what `pull` can get" in run().stdout
    assert json.loads(run("--json").stdout) == []


def test_a_folder_that_is_not_there_is_not_made(run, data_folder):
    done = run()
    assert (done.exit_code, done.stdout, data_folder.exists()) == (2, "", False)
    assert done.stderr == f"jan_server: There is no data folder {data_folder}.\n"


@pytest.mark.parametrize(
    ("manifest", "weights", "problem"),
    [
        ({}, "no model", "m.gguf cannot be used"),
        ({"engine": "nobody"}, "no model", "m.gguf cannot be used"),
        ({"engine": "nobody"}, None, "No engine is called 'nobody'"),
    ],
)
def test_what_no_engine_runs_is_listed_and_says_why(
    run, write, data_folder, manifest, weights, problem
):
    write("models/m/model.json", manifest)
    path = data_folder / "models/m/m.gguf"
    if weights:
        path.write_text(weights)
    else:
        write_tiny_gguf(path)
    [found] = json.loads(run("--json").stdout)
    assert found["engine"] is None
    assert problem in found["problem"]
    assert "  none" in run().stdout


def test_one_that_another_server_answers_has_no_file(run, write):
    write("engines/cluster.json", {"full_url": "http://10.0.0.7:8000/v1/chat/completions"})
    write("models/far/model.json", {"engine": "cluster"})
    assert json.loads(run("--json").stdout) == [{**ECHO, "id": "far", "engine": "cluster"}]


def test_a_split_model_is_as_large_as_its_parts_together(run, write, data_folder):
    folder = data_folder / "models/split"
    folder.mkdir(parents=True)
    paths = [folder / f"m-0000{part}-of-00002.gguf" for part in (1, 2)]
    for number, path in enumerate(paths):
        metadata = {"split.count": 2, "split.no": number, "general.file_type": 15}
        write_tiny_gguf(path, extra_metadata=metadata)
    [found] = json.loads(run("--json").stdout)
    assert (found["id"], found["quantization"]) == ("split", "Q4_K_M")
    assert found["size"] == sum(path.stat().st_size for path in paths)


def test_a_running_server_says_what_is_loaded(run, echo, data_folder):
    with served(Settings(data_folder=data_folder, fsync=False, keep_alive=7200)) as url:
        assert httpx2.post(f"{url}/v1/models/echo/start", timeout=60).status_code == 200
        [found] = json.loads(run("--json").stdout)
        assert found == {**ECHO, "state": "running", "loaded": True}
        assert run().stdout.splitlines()[1].split() == [
            *("echo", "echo", "running"),
            *("0", "B,", "2.0", "h", "left"),
        ]


def test_a_name_cannot_speak_to_the_terminal(run, write):
    write("models/[red]x[/red]/model.json", {"engine": "echo"})
    assert "[red]x[/red]  " in run().stdout


def test_on_a_narrow_terminal_ids_are_whole_and_nothing_is_coloured_that_is_not_to_be(
    echo, write, data_folder
):
    id = "a-model-with-a-name-that-is-longer-than-the-terminal-is-wide"
    write(f"models/{id}/model.json", {"engine": "echo"})
    with Terminal(
        "models", "--data-folder", data_folder, columns=40, env={"NO_COLOR": "1", "COLUMNS": "40"}
    ) as terminal:
        assert terminal.wait_for_the_end() == 0
    assert terminal.shown.splitlines()[:3] == [id, "  ENGINE: echo", "  STATE: downloaded"]
