"""What the README says to paste, prints what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import openai
import pytest
import yaml

from jan_server.models import FALLBACK_DEFAULT
from jan_server.settings import Settings
from tests.clients.conftest import node_with_openai, use_with
from tests.running import served
from tests.tiny_gguf import write_tiny_gguf

PROJECT = Path(__file__).parent.parent
README = PROJECT / "README.md"
BIN = Path(sys.executable).parent
RUNNING = {
    "sh": (["sh", "-eu"], ".sh"),
    # OpenAI's package says at every call that the Assistants API is deprecated.
    "python": (["python", "-W", "ignore"], ".py"),
    "js": (["node"], ".mjs"),
}
"""How a program in each language is run, and what its file's name ends with."""


def test_the_transcript_by_hand_is_true(tmp_path):
    (tmp_path / "data/threads").mkdir(parents=True)
    with served(Settings(data_folder=tmp_path / "data", fsync=False)) as base:
        printed, expected = _pasted("Edit it by hand", base=base, cwd=tmp_path)
    assert printed == expected


def test_the_transcript_of_an_import_and_a_removal_is_true(tmp_path):
    (tmp_path / "Downloads").mkdir()
    write_tiny_gguf(tmp_path / "Downloads/Qwen3-0.6B-Q8_0.gguf")
    with served(Settings(data_folder=tmp_path / "data", fsync=False)) as base:
        printed, expected = _pasted("Import a file, remove a model", base=base, cwd=tmp_path)
    assert printed == expected


@pytest.mark.model
def test_the_transcript_of_forms_and_tools_is_true(smollm2_folder, tmp_path):
    with served(Settings(data_folder=smollm2_folder, fsync=False)) as base:
        printed, expected = _pasted("Structured output and tools", base=base, cwd=tmp_path)
    assert printed == expected


@pytest.mark.model
def test_the_transcript_of_runs_is_true(smollm2_folder, tmp_path):
    with served(Settings(data_folder=smollm2_folder, fsync=False)) as base:
        printed, expected = _pasted("Assistants and runs", base=base, cwd=tmp_path)
    assert printed == expected


@pytest.mark.model
def test_the_transcript_of_a_chat_by_file_is_true(smollm2_folder, tmp_path):
    (tmp_path / "data/threads").mkdir(parents=True)
    (tmp_path / "data/models").symlink_to(smollm2_folder / "models")
    with served(Settings(data_folder=tmp_path / "data", fsync=False)) as base:
        printed, expected = _pasted("Chat by file", base=base, cwd=tmp_path)
    assert printed == expected


@pytest.mark.parametrize("is_served", [True, False])
def test_the_transcript_of_commands_is_true(smollm2_folder, tmp_path, is_served):
    data = tmp_path / "data"
    shutil.copytree(PROJECT / "data/threads", data / "threads")
    (data / "models").mkdir()
    (data / "models" / FALLBACK_DEFAULT).symlink_to(smollm2_folder / "models" / FALLBACK_DEFAULT)
    settings = Settings(data_folder=data, fsync=False)
    with served(settings) if is_served else nullcontext("") as base:
        printed, expected = _pasted("Command line", base=base, cwd=tmp_path)
    assert printed == expected


@pytest.mark.model
def test_the_program_with_openais_package_runs(smollm2_folder, tmp_path):
    with served(Settings(data_folder=smollm2_folder, fsync=False)) as base:
        printed, _ = _pasted("Talk to it", "python", base=base, cwd=tmp_path)
    assert printed[-1].endswith("['And the bread.', 'Remember the milk.']")


@pytest.mark.model
def test_openais_package_for_node_is_used_as_shown(smollm2_folder, tmp_path):
    _, modules = node_with_openai()
    (tmp_path / "node_modules").symlink_to(modules / "node_modules")
    with served(Settings(data_folder=smollm2_folder, fsync=False)) as base:
        printed, expected = _pasted("Use it with", "js", base=base, cwd=tmp_path)
    assert printed == expected


@pytest.mark.model
@pytest.mark.parametrize("language", ["python", "sh"], ids=["LangChain", "llm"])
def test_it_is_used_as_shown_with(smollm2_folder, tmp_path, language):
    with served(Settings(data_folder=smollm2_folder, fsync=False)) as base:
        printed, expected = _pasted(
            "Use it with", language, base=base, cwd=tmp_path, programs=use_with()
        )
    assert printed == expected


@pytest.mark.model
def test_continue_is_shown_a_server_and_a_model_that_are_there(smollm2_folder):
    [model] = yaml.safe_load(_first("Use it with", "yaml"))["models"]
    assert (model["provider"], model["apiBase"]) == ("openai", "http://127.0.0.1:1337/v1")
    with served(Settings(data_folder=smollm2_folder, fsync=False)) as base:
        address = model["apiBase"].replace("http://127.0.0.1:1337", base)
        with openai.OpenAI(base_url=address, api_key=model["apiKey"]) as client:
            assert client.models.retrieve(model["model"]).id == model["model"]


def _pasted(section, language="sh", *, base, cwd, programs=BIN):
    """What a section's first program in a language prints, and what is said that it does.

    Nothing may come on stderr. `programs` go before those of the machine.
    """
    script, expected = _taken_apart(_first(section, language))
    script = script.replace("http://127.0.0.1:1337", base)
    script = script.replace(".venv/bin/python", sys.executable)
    command, extension = RUNNING[language]
    file = cwd / f"pasted{extension}"
    file.write_text(script)
    done = subprocess.run(
        [*command, file],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={
            **os.environ,
            "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
            "PYTHONPATH": str(PROJECT),
            "LLM_USER_PATH": str(cwd / "llm"),
            "NO_PROXY": "*",
        },
    )
    assert done.stderr == ""
    return done.stdout.splitlines(), expected


def _first(section, language):
    """The first block of a section that is in a language."""
    part = README.read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    return re.search(rf"```{language}\n(.*?)```", part, re.DOTALL)[1]


def _taken_apart(block):
    """The program, and the lines that it prints."""
    mark = re.compile("(# ?|//)=> ?")  # With the space where ruff formats the README's Python.
    lines = block.splitlines()
    shown = [mark.sub("", line, count=1) for line in lines if mark.match(line)]
    return "\n".join(line for line in lines if not mark.match(line)), shown
