"""What the model itself thought of a token."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jan_server.engines.decoding.sampling import likelihoods
from jan_server.errors import ModelCannotRun
from tests.engines.decoding.sampling_reference import falling, logits_of, probabilities


@pytest.mark.parametrize("shape", ["flat", "sharp", "middling", "ties"])
@pytest.mark.parametrize("size", [3, 300, 49_152])
@pytest.mark.parametrize("count", [0, 1, 5, 20])
def test_likelihoods_are_the_log_softmax(shape: str, size: int, count: int) -> None:
    logits = logits_of(shape, size, 1)
    before = logits.copy()
    expected = np.log(probabilities(logits))
    chosen, top = likelihoods(logits, 2, count)
    assert chosen == pytest.approx(expected[2], abs=1e-5)
    assert [id for id, _ in top] == falling(logits)[:count]
    assert [value for _, value in top] == pytest.approx(expected[falling(logits)[:count]], abs=1e-5)
    assert (logits == before).all()


def test_likelihoods_do_not_overflow() -> None:
    logits = np.array([1e30, -1e30, 1e30], np.float32)
    half = -math.log(2)
    assert likelihoods(logits, 2, 2) == (half, [(0, half), (2, half)])


def test_logits_that_are_no_numbers_have_no_likelihood() -> None:
    with pytest.raises(ModelCannotRun, match="weights are damaged"):
        likelihoods(np.array([1, np.nan], np.float32), 0, 1)
