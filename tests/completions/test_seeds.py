"""Each of several answers has a seed of its own."""

from __future__ import annotations

import pytest

from jan_server.completions.seeds import seeded
from jan_server.engines.base import GenerationRequest


@pytest.mark.parametrize(
    ("seed", "seeds"),
    [(None, [None] * 3), (0, [0, 1, 2]), (2**64 - 2, [2**64 - 2, 2**64 - 1, 0])],
)
def test_seeds_rise_by_one_and_stay_what_an_engine_can_read(
    seed: int | None, seeds: list[int | None]
) -> None:
    request = GenerationRequest(prompt="x", seed=seed)
    assert [one.seed for one in seeded(request, 3)] == seeds
    assert [one.prompt for one in seeded(request, 3)] == ["x"] * 3
