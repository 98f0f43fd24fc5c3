"""What the model itself thought of a token: before bias, penalties, mask and temperature."""

from __future__ import annotations

import math

import numpy as np

from jan_server.engines.decoding.sampling.ranking import Logits, largest, peak_of


def likelihoods(logits: Logits, token: int, count: int) -> tuple[float, list[tuple[int, float]]]:
    """The logarithm of the token's probability, and the `count` likeliest tokens with theirs.

    The latter in falling order; of equal ones the lower id comes first. Raises ModelCannotRun when
    the logits are no numbers.
    """
    peak = peak_of(logits)
    weights = logits - np.float32(peak)
    np.exp(weights, out=weights)
    whole = math.log(float(weights.sum()))
    top = [(int(id), float(logits[id]) - peak - whole) for id in largest(logits, count)]
    return float(logits[token]) - peak - whole, top
