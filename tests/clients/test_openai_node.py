"""The `openai` package for Node, the newest, unmodified."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import missing, run_checks

SCRIPT = Path(__file__).with_name("openai_node.mjs")
MODULES = Path(sys.prefix) / "node"


@pytest.fixture(scope="module")
def found(servers: tuple[str, str]) -> dict[str, str | None]:
    node = shutil.which("node", path=Path(sys.executable).parent) or shutil.which("node")
    if node is None:
        missing("node is not there")
    assert node
    if not (MODULES / "node_modules/openai").is_dir():
        missing(f"the package openai is not in {MODULES}")
    return run_checks([node, SCRIPT, MODULES], servers)


@pytest.mark.parametrize("check", re.findall(r"^  async (\w+)\(", SCRIPT.read_text(), re.MULTILINE))
def test_it_works_as_it_is(found, check):
    assert found[check] is None, found[check]
