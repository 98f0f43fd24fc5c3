"""The `openai` package for Node, the newest, unmodified."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clients.conftest import node_with_openai, run_checks

SCRIPT = Path(__file__).with_name("openai_node.mjs")


@pytest.fixture(scope="module")
def found(servers: tuple[str, str]) -> dict[str, str | None]:
    node, modules = node_with_openai()
    return run_checks([node, SCRIPT, modules], servers)


@pytest.mark.parametrize("check", re.findall(r"^  async (\w+)\(", SCRIPT.read_text(), re.MULTILINE))
def test_it_works_as_it_is(found, check):
    assert found[check] is None, found[check]
