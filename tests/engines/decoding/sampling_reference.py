"""Sampling written out plainly, with full sorts: llama.cpp's steps in llama.cpp's order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jan_server.engines.base import Parameters

Logits = NDArray[np.float32]


def sampling(**given: Any) -> Parameters:
    """Greedy, and every step off, but for what is given."""
    return Parameters(**{"temperature": 0.0, "top_p": 1.0, **given})


def logits_of(shape: str, size: int, seed: int) -> Logits:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, size)
    if shape == "sharp":
        logits[random.integers(0, size, 12)] += 14
    elif shape == "middling":
        logits = random.gumbel(0, 2.5, size)
    elif shape == "ties":
        logits = np.round(logits)
    elif shape == "holes":
        logits[random.random(size) < 0.5] = -np.inf
        logits[0] = 1.0
    return logits.astype(np.float32)


def falling(logits: Logits) -> list[int]:
    ids: list[int] = np.lexsort((np.arange(len(logits)), -logits)).tolist()
    return ids


def probabilities(logits: Logits, temperature: float = 1.0) -> NDArray[np.float64]:
    weights = np.exp((logits.astype(np.float64) - float(logits.max())) / temperature)
    probable: NDArray[np.float64] = weights / weights.sum()
    return probable


def kept(logits: Logits, values: Parameters) -> list[int]:
    """The ids, the likeliest first, that top-k, typical, top-p and min-p leave."""
    ids = falling(logits)
    if values.top_k > 0:
        ids = ids[: values.top_k]
    if values.typical_p < 1:
        ids = _typical(logits, ids, values.typical_p)
    if values.top_p < 1:
        sums = probabilities(logits[ids]).cumsum()
        ids = ids[: int((sums < values.top_p).sum()) + 1]
    if values.min_p > 0:
        least = float(logits[ids[0]]) + math.log(values.min_p)
        ids = [id for id in ids if float(logits[id]) >= least] or ids[:1]
    return ids


def _typical(logits: Logits, ids: list[int], p: float) -> list[int]:
    ids = [id for id in ids if logits[id] > -np.inf]
    probable = probabilities(logits[ids])
    surprise = -np.log(np.maximum(probable, 1e-300))
    distance = np.abs(surprise - (probable * surprise).sum())
    # Rounded, as tokens of one logit have one distance.
    order = np.argsort(np.round(distance, 9), kind="stable")
    count = int((probable[order].cumsum() <= p).sum()) + 1
    return [ids[place] for place in sorted(order[:count])]


def changed(
    logits: Logits,
    history: Sequence[int],
    answer: Sequence[int],
    values: Parameters,
    ends: Collection[int] = (),
) -> Logits:
    """Bias, repeat penalty, frequency and presence penalties, tokens that are never chosen."""
    logits = logits.copy()
    for id, bias in values.logit_bias.items():
        logits[id] += np.float32(bias)
    last = values.repeat_last_n
    penalty = np.float32(values.repeat_penalty)
    for id in set(history if last < 0 else history[max(len(history) - last, 0) :]):
        logits[id] = logits[id] / penalty if logits[id] > 0 else logits[id] * penalty
    for id, count in Counter(answer).items():
        logits[id] -= np.float32(count) * np.float32(values.frequency_penalty)
        logits[id] -= np.float32(values.presence_penalty)
    for id, bias in values.logit_bias.items():
        if bias <= -100:
            logits[id] = -np.inf
    if values.ignore_eos:
        logits[list(ends)] = -np.inf
    return logits


def zipf_kept(logits: Logits, temperature: float, mu: float) -> int:
    """How many mirostat 1 leaves: llama.cpp's `llama_sampler_mirostat_apply`, line by line."""
    probable = np.sort(probabilities(logits, temperature))[::-1]
    count = len(probable)
    sum_ti_bi = sum_ti_sq = 0.0
    for i in range(min(99, count - 1)):
        t_i = math.log((i + 2) / (i + 1))
        sum_ti_bi += t_i * math.log(probable[i] / probable[i + 1])
        sum_ti_sq += t_i * t_i
    s_hat = sum_ti_bi / sum_ti_sq
    epsilon_hat = s_hat - 1
    k: float = ((epsilon_hat * 2**mu) / (1 - count**-epsilon_hat)) ** (1 / s_hat)
    return min(max(int(k), 1), count)


def surprising(logits: Logits, temperature: float, mu: float) -> list[int]:
    """The ids that mirostat 2 leaves: `llama_sampler_mirostat_v2_apply`."""
    ids = falling(logits)
    surprise = -np.log2(np.maximum(probabilities(logits, temperature)[ids], 1e-300))
    count = next((place for place, bits in enumerate(surprise) if bits > mu), len(ids))
    return ids[: max(count, 1)]


def packed(allowed: Collection[int], size: int) -> NDArray[np.uint32]:
    """A bit mask of whole words that allows these tokens of `size`."""
    words = [0] * math.ceil(size / 32)
    for id in allowed:
        words[id // 32] |= 1 << id % 32
    return np.array(words, np.uint32)
