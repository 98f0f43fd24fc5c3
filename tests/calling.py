"""An engine that calls tools when it is told to: a real one would have to be large to do so.

It is the echo engine, but says again only the user's last words. Of lines `call NAME ARGUMENTS` in
them it makes calls, and what tools have answered it says in words.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

ENGINE = r"""
import json
import re

from jan_server.engines.echo import EchoEngine, EchoModel

CALL = re.compile(r"^call (\w+) (\{.*\})$", re.MULTILINE)
RESULT = re.compile(r"<tool_response>\n?(.*?)\n?</tool_response>", re.DOTALL)

class Calling(EchoEngine):
    def load(self, spec):
        return CallingModel(spec.ctx_len or 2048, spec.slots or 1)

class CallingModel(EchoModel):
    def generate(self, prompt, request, *, slot=0):
        last = self.detokenize(prompt).rpartition("<user>")[2].removesuffix("<assistant>")
        return super().generate(self.tokenize(answer(last)), request, slot=slot)

def answer(words):
    if results := RESULT.findall(words):
        return "It is " + " and ".join(results) + "."
    calls = CALL.findall(words)
    if not calls:
        return words
    written = [json.dumps({"name": name, "arguments": json.loads(of)}) for name, of in calls]
    before = words[:CALL.search(words).start()]
    return before + "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in written)
"""
MANIFEST = {
    "engine": "calling",
    "settings": {"prompt_template": "{system_message}<user>{prompt}<assistant>"},
}


def install(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let this process, and those that it starts, find the engine."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "calling_engine.py").write_text(ENGINE)
    info = folder / "calling_engine-1.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: calling-engine\nVersion: 1\n")
    points = "[jan_server.engines]\ncalling = calling_engine:Calling\n"
    (info / "entry_points.txt").write_text(points)
    patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    patch.syspath_prepend(folder)


def put_model(data_folder: Path) -> str:
    """Its id."""
    manifest = data_folder / "models/calling/model.json"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps(MANIFEST))
    return "calling"
