"""What the README says to paste, prints what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from jan_server.settings import Settings
from tests.running import served

PROJECT = Path(__file__).parent.parent
README = PROJECT / "README.md"


def test_the_transcript_by_hand_is_true(tmp_path):
    [block] = re.findall(r"## Edit it by hand.*?```sh\n(.*?)```", README.read_text(), re.DOTALL)
    script, expected = _taken_apart(block)
    (tmp_path / "data/threads").mkdir(parents=True)
    with served(Settings(data_folder=tmp_path / "data", fsync=False)) as base:
        script = script.replace("http://127.0.0.1:1337", base)
        script = script.replace(".venv/bin/python", sys.executable)
        done = subprocess.run(
            ["sh", "-eu", "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )
    assert (done.stdout.splitlines(), done.stderr) == (expected, "")


def _taken_apart(block):
    """The commands, and the lines that they print."""
    lines = block.splitlines()
    shown = [line.removeprefix("#=>").removeprefix(" ") for line in lines if line.startswith("#=>")]
    return "\n".join(line for line in lines if not line.startswith("#=>")), shown
