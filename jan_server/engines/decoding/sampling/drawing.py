"""A place, drawn by weight."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float32] | NDArray[np.float64]

# Colder, the largest logit has all the weight; hotter, all have the same: both in float32.
COLDEST, HOTTEST = 1e-6, 1e6
# Summing 49k weights up one by one takes 0.5 ms: of more than this, blocks are drawn from first.
MANY, BLOCK = 4096, 256


def draw(below: Numbers, temperature: float, chance: float) -> int:
    """The place that `chance`, in [0, 1), falls on.

    `below` are logits less the largest of them; their array is used for the weights.
    """
    return drawn(weights_of(below, temperature), chance)


def weights_of(below: Numbers, temperature: float) -> Numbers:
    """exp(logit / temperature) against the largest's, which is 1: so no temperature overflows.

    In the array itself: a second one of 200 KB can make the C library give memory back to the
    system and ask for it again, which takes 0.3 ms.
    """
    below /= scale(temperature)
    np.exp(below, out=below)
    return below


def scale(temperature: float) -> float:
    """What logits are divided by."""
    return min(max(temperature, COLDEST), HOTTEST)


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
