"""Top-k, typical, top-p, min-p: which tokens may be drawn.

Sorting 49k numbers (3 ms) is what has to be avoided, so only those that can be kept are looked at:

- top-k: `ranking.largest`;
- top-p: those that are each likelier than (1 - p) / 256; where these weigh too little, likelier
  than (1 - p) / size, as all the less likely ones together weigh less than 1 - p;
- typical: the same with its own p, where what is left out is further from the entropy than what is
  kept; else all of them.

All are exact but for rounding, a millionth of the mass; a test compares with a full sort.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from jan_server.engines.base import Parameters
from jan_server.engines.ctransformers.sampling.ranking import (
    Ids,
    Logits,
    block_maxima,
    check_peak,
    in_order,
    largest,
    peak_of,
)

Doubles = NDArray[np.float64]

# So many hold the nucleus of nine tokens in ten.
LIKELY_NUCLEUS = 256
# A little less than the bound, as weights are single-precision numbers.
CAUTION = 0.999
# In single precision exp of it is 0.
NO_WEIGHT = np.float32(-200)


def keep(logits: Logits, values: Parameters) -> tuple[Ids | None, Logits | Doubles]:
    """The tokens that may be drawn, the likeliest first, and their logits; None means all.

    Raises like `ranking.check_peak`.
    """
    total = None
    if 0 < values.top_k < len(logits):
        maxima = block_maxima(logits)
        check_peak(float(maxima.max()))
        ids = typical(logits, largest(logits, values.top_k, maxima=maxima), values.typical_p)
    elif values.typical_p < 1:
        ids = typical_of_all(logits, values.typical_p)
    elif values.top_p < 1:
        ids, total = nucleus_of_all(logits, values.top_p)
    elif values.min_p > 0:
        ids = in_order(logits, (logits >= _least(peak_of(logits), values.min_p)).nonzero()[0])
    else:
        check_peak(float(logits.max(initial=-np.inf)))
        return None, logits
    ordered = logits[ids].astype(np.float64)
    count = _count_kept(ordered, values, total)
    return ids[:count], ordered[:count]


def _least(peak: float, min_p: float) -> np.float32:
    """The least logit that min-p may leave: rounded down, `_count_kept` looks closer."""
    least: np.float32 = np.nextafter(np.float32(peak + math.log(min_p)), np.float32(-np.inf))
    return least


def _count_kept(ordered: Doubles, values: Parameters, total: float | None) -> int:
    """How many of the ordered candidates top-p and min-p leave; at least one.

    `total` is what everything weighs against the likeliest; None where the candidates are all.
    """
    count = len(ordered)
    if values.top_p < 1:
        sums = np.exp(ordered - ordered[0]).cumsum()
        wanted = values.top_p * (sums[-1] if total is None else total)
        count = min(count, int(sums.searchsorted(wanted)) + 1)
    if values.min_p > 0:
        likely = ordered >= ordered[0] + math.log(values.min_p)
        count = min(count, int(likely.sum()))
    return max(count, 1)


def nucleus_of_all(logits: Logits, p: float) -> tuple[Ids, float]:
    """Tokens in falling order that hold the nucleus, and few others; and what everything weighs."""
    weights = logits - np.float32(peak_of(logits))
    np.exp(weights, out=weights)
    total = float(weights.sum())
    return in_order(logits, _likeliest(weights, total, p)), total


def _likeliest(weights: Logits, total: float, p: float) -> Ids:
    """Rising ids of tokens that weigh `p` of the total or more, and few others."""
    ids: Ids = (weights >= (1 - p) * total / LIKELY_NUCLEUS).nonzero()[0]
    if len(ids) and float(weights[ids].sum(dtype=np.float64)) >= p * total:
        return ids
    return (weights >= _rarest(total, p, len(weights))).nonzero()[0]


def _rarest(total: float, p: float, size: int) -> float:
    """A weight below which all of `size` tokens together weigh less than 1 - p of the total."""
    return CAUTION * (1 - p) * total / size


def typical(logits: Logits, ids: Ids, p: float) -> Ids:
    """Those of `ids`, in falling order, that are locally typical among them.

    Meister et al., "Locally Typical Sampling" (2022): the fewest that weigh more than `p`
    together, counted from those whose surprise is next to the entropy. The entropy is the mean
    surprise, so these are the tokens whose logit is next to the mean logit.
    """
    if p >= 1:
        return ids
    ordered = logits[ids].astype(np.float64)
    ordered = ordered[ordered > -np.inf]
    weights = np.exp(ordered - ordered[0])
    total = float(weights.sum())
    mean = float((weights * ordered).sum()) / total
    return ids[nearest(ordered, weights, mean, p * total)]


def typical_of_all(logits: Logits, p: float) -> Ids:
    """`typical` of all tokens, looking at the likeliest first."""
    peak = np.float32(peak_of(logits))
    below = np.maximum(logits - peak, NO_WEIGHT)
    weights = np.exp(below)
    total = float(weights.sum())
    mean = float((weights * below).sum()) / total
    ids = in_order(logits, _likeliest(weights, total, p))
    ordered = below[ids].astype(np.float64)
    places = nearest(ordered, weights[ids].astype(np.float64), mean, p * total)
    farthest = float(np.abs(ordered[places] - mean).max())
    # All that was not looked at lies below the last, on the far side of the mean.
    if len(places) < len(ids) and farthest <= mean - ordered[-1]:
        return ids[places]
    return typical(logits, in_order(logits, np.arange(len(logits))), p)


def nearest(ordered: Doubles, weights: Doubles, mean: float, wanted: float) -> Ids:
    """Rising places of the fewest that weigh more than `wanted`, counted from the mean."""
    order = np.abs(ordered - mean).argsort(kind="stable")
    count = int(weights[order].cumsum().searchsorted(wanted, side="right")) + 1
    return np.sort(order[:count])
