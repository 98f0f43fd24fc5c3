from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from jan_server import cli


@pytest.fixture
def run() -> Callable[..., Result]:
    """What a command says, in this process: `run("pull", "tiny")`."""

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(cli.main, [*arguments])

    return invoke
