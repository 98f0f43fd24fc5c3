"""The `openai` package, unmodified: the newest, and the 1.x of late 2024."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.clients import openai_python
from tests.clients.conftest import missing, run_checks

SCRIPT = Path(openai_python.__file__)
PYTHONS = {
    "newest": Path(sys.executable),
    "late 2024": Path(sys.prefix) / "openai-2024/bin/python",
}


@pytest.fixture(scope="module", params=PYTHONS)
def found(request: pytest.FixtureRequest, servers: tuple[str, str]) -> dict[str, str | None]:
    python = PYTHONS[request.param]
    if not python.exists():
        missing(f"{python} is not there")
    return run_checks([python, SCRIPT], servers)


@pytest.mark.parametrize("check", [check.__name__ for check in openai_python.CHECKS])
def test_it_works_as_it_is(found, check):
    assert found[check] is None, found[check]
