"""What the README says to paste, prints what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from jan_server.models import FALLBACK_DEFAULT
from jan_server.settings import Settings
from tests.running import served
from tests.tiny_gguf import write_tiny_gguf

PROJECT = Path(__file__).parent.parent
README = PROJECT / "README.md"


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


def _pasted(section, *, base, cwd):
    """What the first commands of a section print, and what it says they do; nothing on stderr."""
    part = README.read_text().partition(f"## {section}\n")[2]
    script, expected = _taken_apart(re.search(r"```sh\n(.*?)```", part, re.DOTALL)[1])
    script = script.replace("http://127.0.0.1:1337", base)
    script = script.replace(".venv/bin/python", sys.executable)
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )
    assert done.stderr == ""
    return done.stdout.splitlines(), expected


def _taken_apart(block):
    """The commands, and the lines that they print."""
    lines = block.splitlines()
    shown = [line.removeprefix("#=>").removeprefix(" ") for line in lines if line.startswith("#=>")]
    return "\n".join(line for line in lines if not line.startswith("#=>")), shown
