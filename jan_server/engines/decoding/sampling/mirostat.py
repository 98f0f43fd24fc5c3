"""Mirostat: cuts so that each token surprises by about `tau` bits, whatever the model's certainty.

Basu et al., "Mirostat: A Neural Text Decoding Algorithm that Directly Controls Perplexity" (2020),
as llama.cpp's `llama_sampler_mirostat` (1) and `llama_sampler_mirostat_v2` (2). `mu`, the greatest
surprise let through, begins at 2 tau; after each token it goes down by eta times what that token
surprised beyond tau. The surprise is that among the tokens that were left.

Other than llama.cpp's, version 1 passes over tokens of no probability, where it divides by 0.
"""

from __future__ import annotations

import math

import numpy as np

from jan_server.engines.base import Parameters
from jan_server.engines.decoding.sampling.drawing import Numbers, drawn, scale, weights_of
from jan_server.engines.decoding.sampling.ranking import Ids, Logits, largest, peak_of

# llama.cpp's m: so many of the likeliest tell how fast probabilities fall.
LIKELIEST = 100


class Mirostat:
    """One answer's: either version, by `values.mirostat`."""

    def __init__(self, values: Parameters) -> None:
        self._version = values.mirostat
        self._tau = values.mirostat_tau
        self._eta = values.mirostat_eta
        self.mu = 2 * values.mirostat_tau

    def pick(self, logits: Logits, temperature: float, chance: float) -> int:
        """A place in `logits`; raises like `ranking.check_peak`."""
        below = logits - np.float32(peak_of(logits))
        cut = of_zipf if self._version == 1 else of_surprise
        ids, weights = cut(below, temperature, self.mu)
        place = drawn(weights, chance)
        surprise = math.log2(float(weights.sum(dtype=np.float64)) / float(weights[place]))
        self.mu -= self._eta * (surprise - self._tau)
        return int(ids[place])


def of_zipf(below: Logits, temperature: float, mu: float) -> tuple[Ids, Numbers]:
    """Version 1: the k likeliest, k told by Zipf's law; their ids and weights.

    `below` are the logits less the largest.
    """
    ids = largest(below, LIKELIEST)
    ordered = below[ids].astype(np.float64) / scale(temperature)
    count = zipf_count(ordered[ordered > -np.inf], mu, len(below))
    if count >= len(below):
        return np.arange(len(below)), weights_of(below, temperature)
    ids = ids[:count] if count <= len(ids) else largest(below, count)
    return ids, weights_of(below[ids], temperature)


def zipf_count(ordered: Numbers, mu: float, size: int) -> int:
    """How many of `size` tokens surprise by at most `mu` bits; at least one.

    `ordered` are the logits of the likeliest, in falling order. The paper's algorithm 1: s is
    the exponent of Zipf's law that fits them, e = s - 1, and
    k = (e 2^mu / (1 - size^-e))^(1/s).
    """
    if len(ordered) < 2:
        return 1
    ranks = np.arange(1, len(ordered) + 1)
    steps = np.diff(np.log(ranks))
    exponent = float(-np.diff(ordered) @ steps / (steps @ steps))
    if exponent <= 0:
        return size
    # As logarithms: 2^mu, and more so its root, can be beyond all numbers.
    log = (_log_ratio(exponent - 1, size) + mu * math.log(2)) / exponent
    return size if log >= math.log(size) else max(int(math.exp(log)), 1)


def _log_ratio(excess: float, size: int) -> float:
    """ln(e / (1 - size^-e)); where e is 0, its limit."""
    if abs(excess) < 1e-9:
        return -math.log(math.log(size))
    return math.log(excess / -math.expm1(-excess * math.log(size)))


def of_surprise(below: Logits, temperature: float, mu: float) -> tuple[Ids, Numbers]:
    """Version 2: those that surprise by at most `mu` bits, at least the likeliest; and weights."""
    weights = weights_of(below, temperature)
    least = math.log(float(weights.sum())) - mu * math.log(2)
    # The likeliest weighs 1, of which the logarithm is 0.
    if least > 0:
        return largest(below, 1), np.ones(1)
    ids = (weights >= math.exp(least)).nonzero()[0]
    return ids, weights[ids]
