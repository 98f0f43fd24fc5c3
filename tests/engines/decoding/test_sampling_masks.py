"""Masks: which tokens a constraint allows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jan_server.engines.decoding.sampling.masks import Mask, allowed_few, is_allowed, masked
from tests.engines.decoding.sampling_reference import packed

SIZE = 5000


def allowed(mask: Mask, size: int) -> list[int]:
    """By both ways where they are few."""
    logits = np.arange(size, dtype=np.float32)
    found = masked(logits, mask)
    ids: list[int] = np.isfinite(found).nonzero()[0].tolist()
    assert (found[ids] == logits[ids]).all()
    assert (logits == np.arange(size)).all()
    few = allowed_few(mask, size)
    assert few is None or few.tolist() == ids
    return ids


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.5, 0.99, 1.0])
def test_the_allowed_tokens_are_those_whose_bit_is_set(share: float) -> None:
    random = np.random.default_rng(1)
    ids = [id for id in range(SIZE) if random.random() < share]
    mask = packed(ids, SIZE)
    assert allowed(mask, SIZE) == ids
    assert [id for id in range(SIZE) if is_allowed(mask, id)] == ids


@given(st.sets(st.integers(0, SIZE - 1), max_size=40), st.integers(0, SIZE + 100))
def test_bits_beyond_the_tokens_are_passed_over(ids: set[int], size: int) -> None:
    assert allowed(packed(ids, SIZE), size) == sorted(id for id in ids if id < size)


@pytest.mark.parametrize("ids", [[5], range(64)])
def test_tokens_beyond_the_mask_are_not_allowed(ids: list[int]) -> None:
    mask = packed(ids, 64)
    assert allowed(mask, SIZE) == [*ids]
    assert not is_allowed(mask, 64)


def test_a_mask_has_a_bit_for_each_token() -> None:
    mask = np.array([0b1000_0000_0000_0000_0000_0000_0000_0101, 1 << 1], np.uint32)
    assert len(mask) == math.ceil(40 / 32)
    assert allowed(mask, 40) == [0, 2, 31, 33]
