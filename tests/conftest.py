"""What several test files need. The one stand-in for a real model is the echo engine."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
