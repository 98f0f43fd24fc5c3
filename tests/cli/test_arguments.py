"""What a shell completes beside commands and options: ids."""

from __future__ import annotations

import pytest

from jan_server import catalogue
from tests.cli.shell import completions


@pytest.fixture
def folder(write, data_folder):
    write("models/echo/model.json", {"engine": "echo"})
    write("models/qwen/Qwen3-4B/model.json", {})
    write("models/broken/model.json", "{")
    write("llamacpp/models/todays/model.yml", "model_path: m.gguf")
    for thread in ("jan_1", "jan_2", "Work/filed_3"):
        write(f"threads/{thread}/thread.json", {})
    return data_folder


@pytest.mark.parametrize("command", ["show", "run"])
def test_models_are_those_of_the_folder_and_the_catalogue(folder, command):
    offered = completions(f"{command} --data-folder {folder} ")
    assert sorted(offered) == sorted(["echo", "qwen/Qwen3-4B", "todays", *catalogue.load()])
    assert completions(f"{command} --data-folder {folder} qwen/Q") == ["qwen/Qwen3-4B"]


def test_threads_are_those_of_the_folder(folder):
    typed = f"threads show --data-folder {folder} "
    assert sorted(completions(typed)) == ["filed_3", "jan_1", "jan_2"]
    assert completions(f"{typed}jan_2") == ["jan_2"]


def test_commands_below_a_command_are_completed():
    assert completions("threads ") == ["list", "show", "search"]
    assert "--limit" in completions("threads --l")


def test_the_folder_is_the_one_that_commands_use(folder, monkeypatch):
    monkeypatch.setenv("JAN_DATA_FOLDER", str(folder))
    assert completions("show ec") == ["echo"]


def test_whatever_is_wrong_nothing_is_said_of_it(folder, tmp_path):
    assert completions(f"show --data-folder {tmp_path / 'nowhere'} smollm2-135") == [
        "smollm2-135m-instruct"
    ]
    assert "smollm2-135m-instruct" in completions("show --data-folder '' ")
