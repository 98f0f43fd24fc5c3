"""How much memory models may take by default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jan_server.engines.memory import SHARE, default_budget

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_without_a_control_group_it_is_a_share_of_the_machines(tmp_path: Path) -> None:
    assert default_budget((tmp_path / "missing",)) == int(SHARE * MACHINE)


@pytest.mark.parametrize(
    ("limit", "memory"),
    [("1000000\n", 1_000_000), ("max\n", MACHINE), (f"{2**63 - 4096}\n", MACHINE)],
)
def test_a_control_group_may_take_less(tmp_path: Path, limit: str, memory: int) -> None:
    file = tmp_path / "memory.max"
    file.write_text(limit)
    assert default_budget((file,)) == int(SHARE * memory)
