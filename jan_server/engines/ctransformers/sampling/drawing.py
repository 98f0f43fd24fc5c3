"""A place, drawn by weight."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float32] | NDArray[np.float64]

# Below it the largest logit has all the weight; in float32 a smaller one becomes 0.
COLDEST = 1e-6
# Summing 49k weights up one by one takes 0.5 ms: of more than this, blocks are drawn from first.
MANY, BLOCK = 4096, 256


def draw(logits: Numbers, temperature: float, chance: float) -> int:
    """The place in `logits` that `chance`, in [0, 1), falls on."""
    return drawn(weights_of(logits, temperature), chance)


def weights_of(logits: Numbers, temperature: float) -> Numbers:
    """exp(logit / temperature), the largest 1.

    The largest is taken off first, so that no temperature overflows.
    """
    with np.errstate(over="ignore"):
        weights: Numbers = logits - logits.max()
        weights /= max(temperature, COLDEST)
        np.exp(weights, out=weights)
    return weights


def drawn(weights: Numbers, chance: float) -> int:
    """The place that `chance` of the whole weight, summed up in order, falls on."""
    if len(weights) <= MANY:
        sums = weights.cumsum(dtype=np.float64)
        return _place(sums, chance * sums[-1])
    starts = np.arange(0, len(weights), BLOCK)
    sums = np.add.reduceat(weights, starts, dtype=np.float64).cumsum()
    wanted = chance * sums[-1]
    block = _place(sums, wanted)
    if block:
        wanted -= sums[block - 1]
    start = block * BLOCK
    return start + _place(weights[start : start + BLOCK].cumsum(dtype=np.float64), wanted)


def _place(sums: NDArray[np.float64], wanted: float) -> int:
    """The first place whose sum is larger than `wanted`."""
    place = int(sums.searchsorted(wanted, side="right"))
    # Rounding can lead beyond the end: then the last one that weighs anything.
    return place if place < len(sums) else int(sums.searchsorted(sums[-1]))
