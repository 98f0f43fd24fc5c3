"""Two servers that other people's programs are run against, in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from jan_server.settings import Settings
from tests import calling
from tests.running import served
from tests.tiny_gguf import write_tiny_gguf

PATIENCE = 300
"""Seconds, for all checks of one client: some seconds on an idle machine."""


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The base URLs of one server, and of one that lets nobody wait."""
    folder = tmp_path_factory.mktemp("clients")
    with pytest.MonkeyPatch.context() as patch:
        calling.install(folder / "engine", patch)
        one, busy = _data_folder(folder / "one"), _data_folder(folder / "busy")
        with (
            served(Settings(data_folder=one, fsync=False)) as base,
            served(Settings(data_folder=busy, fsync=False, max_queue=0)) as other,
        ):
            yield f"{base}/v1", f"{other}/v1"


def _data_folder(folder: Path) -> Path:
    calling.put_model(folder)
    write_tiny_gguf(folder / "models/tiny.gguf", context_length=1024)
    unknown = folder / "models/unknown/model.json"
    unknown.parent.mkdir()
    unknown.write_text(json.dumps({"engine": "no such engine"}))
    jan = folder / "assistants/jan/assistant.json"
    jan.parent.mkdir(parents=True)
    jan.write_text(json.dumps({"id": "jan", "name": "Jan", "model": "*"}))
    return folder


def run_checks(command: Sequence[str | Path], servers: tuple[str, str]) -> dict[str, str | None]:
    """What a client's script has found: for each check None, or what went wrong."""
    done = subprocess.run(
        [*map(str, command), *servers],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "NO_PROXY": "*"},
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return {each["check"]: each["error"] for each in told}


def node_with_openai() -> tuple[str, Path]:
    """Node, and the folder whose `node_modules` have OpenAI's package."""
    modules = Path(sys.prefix) / "node"
    node = shutil.which("node", path=Path(sys.executable).parent) or shutil.which("node")
    if node is None:
        missing("node is not there")
    assert node
    if not (modules / "node_modules/openai").is_dir():
        missing(f"the package openai is not in {modules}")
    return node, modules


def use_with() -> Path:
    """Where the programs are that the README says to use the server with."""
    programs = Path(sys.prefix) / "use-with/bin"
    if not programs.is_dir():
        missing(f"{programs} is not there")
    return programs


def missing(what: str) -> None:
    """Where everything is prepared, nothing may be missing."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}: .ci/run prepares it")
    pytest.skip(f"{what}: `make test` prepares it")
