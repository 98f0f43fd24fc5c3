"""Top-k, typical, top-p, min-p: which tokens may be drawn.

Sorting 49k numbers (3 ms) is what has to be avoided, so only those that can be kept are looked at:

- top-k: `ranking.largest`;
- top-p: those that are each likelier than (1 - p) / 256; where these weigh too little, likelier
  than (1 - p) / size, as all the less likely ones together weigh less than 1 - p;
- typical: the same with its own p, and what is at least as near to the mean logit as the likeliest.

All are exact but for rounding, a millionth of the mass; a test compares with a full sort.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from jan_server.engines.base import Parameters
from jan_server.engines.decoding.sampling.ranking import (
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
    """The tokens that may be drawn, the likeliest first, and their logits less the largest.

    None for the tokens means all, in the order of their ids.

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
        return None, logits - np.float32(peak_of(logits))
    below = logits[ids].astype(np.float64)
    below -= below[0]
    count = _count_kept(below, values, total)
    return ids[:count], below[:count]


def _least(peak: float, min_p: float) -> np.float32:
    """The least logit that min-p may leave: rounded down, `_count_kept` looks closer."""
    least: np.float32 = np.nextafter(np.float32(peak + math.log(min_p)), np.float32(-np.inf))
    return least


def _count_kept(below: Doubles, values: Parameters, total: float | None) -> int:
    """How many of the candidates, in falling order, top-p and min-p leave; at least one.

    `total` is what everything weighs against the likeliest; None where the candidates are all.
    """
    count = len(below)
    if values.top_p < 1:
        sums = np.exp(below).cumsum()
        wanted = values.top_p * (sums[-1] if total is None else total)
        count = min(count, int(sums.searchsorted(wanted)) + 1)
    if values.min_p > 0:
        count = min(count, int((below >= math.log(values.min_p)).sum()))
    return max(count, 1)


def nucleus_of_all(logits: Logits, p: float) -> tuple[Ids, float]:
    """Tokens in falling order that hold the nucleus, and few others; and what everything weighs."""
    weights = logits - np.float32(peak_of(logits))
    np.exp(weights, out=weights)
    total = float(weights.sum())
    return in_order(logits, _likeliest(weights, total, p)), total


def _likeliest(weights: Logits, total: float, p: float, *, least: float = np.inf) -> Ids:
    """Rising ids of the tokens that weigh so much that together they weigh `p` of the total.

    Few others, and all that weigh `least` or more.
    """
    likely = min((1 - p) * total / LIKELY_NUCLEUS, least)
    ids: Ids = (weights >= likely).nonzero()[0]
    if len(ids) and float(weights[ids].sum(dtype=np.float64)) > p * total:
        return ids
    # All below it together weigh less than 1 - p of the total.
    rarest = CAUTION * (1 - p) * total / len(weights)
    return (weights >= min(rarest, least)).nonzero()[0]


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
    return ids[_nearest(ordered, weights, mean, p * total)]


def typical_of_all(logits: Logits, p: float) -> Ids:
    """`typical` of all tokens."""
    below = np.maximum(logits - np.float32(peak_of(logits)), NO_WEIGHT)
    weights = np.exp(below)
    total = float(weights.sum())
    mean = float((weights * below).sum()) / total
    # As far below the mean as the likeliest is above it: what weighs less is farther than any
    # that weighs more.
    ids = in_order(logits, _likeliest(weights, total, p, least=math.exp(2 * mean)))
    places = _nearest(below[ids].astype(np.float64), weights[ids], mean, p * total)
    return ids[places]


def _nearest(ordered: Doubles, weights: Doubles | Logits, mean: float, wanted: float) -> Ids:
    """Rising places of the fewest that weigh more than `wanted`, counted from the mean."""
    order = np.abs(ordered - mean).argsort(kind="stable")
    sums = weights[order].cumsum(dtype=np.float64)
    return np.sort(order[: int(sums.searchsorted(wanted, side="right")) + 1])
