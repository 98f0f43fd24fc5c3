"""LangChain's package for OpenAI, unmodified, in the environment of the README's programs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clients.conftest import run_checks, use_with

SCRIPT = Path(__file__).with_name("langchain_chat.py")
CHECKS = re.findall(r"^def (an?_\w+)\(", SCRIPT.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def found(servers: tuple[str, str]) -> dict[str, str | None]:
    return run_checks([use_with() / "python", SCRIPT], servers)


@pytest.mark.parametrize("check", CHECKS)
def test_it_works_as_it_is(found, check):
    assert found[check] is None, found[check]
