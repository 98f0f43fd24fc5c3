"""Logits -> the next token, in NumPy; pure but for the draw's own generator.

The order is llama.cpp's: penalties, top-k, top-p, min-p, temperature, draw. The library's own
sampler is not used: it takes 1.1 ms a token with 49k tokens, a tenth of the token itself, and seeds
its generator anew for every token.

Sorting 49k numbers (3 ms) is what has to be avoided. Top-k, top-p and min-p all keep the first so
many of the tokens in falling order, so only those that can be among them are sorted:

- the k-th largest of the maxima of 256 blocks is a lower bound of the k-th largest logit, as each
  of those blocks has one that is at least as large;
- for top-p, first the 64 likeliest are tried; where they weigh too little, tokens are counted into
  steps of an eighth of a logit, and those above the step in which p is reached are taken.

Both are exact; a test compares with a full sort. Of equal logits the lower id comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jan_server.engines.base import Parameters
from jan_server.errors import ModelCannotRun

Logits = NDArray[np.float32]
Ids = NDArray[np.intp]
Numbers = NDArray[np.float32] | NDArray[np.float64]

BLOCKS, SMALLEST_BLOCK = 256, 16
# So many of the likeliest hold the nucleus of a model that knows what it says.
LIKELY_NUCLEUS = 64
STEPS, STEPS_PER_LOGIT = 256, 8

# Below it the largest logit has all the weight; in float32 a smaller one becomes 0.
COLDEST = 1e-6


class Sampler:
    """One answer's choices: its generator, and how often it has chosen each token."""

    def __init__(self, values: Parameters) -> None:
        self._values = values
        self._random = np.random.default_rng(_unsigned(values.seed))
        self._chosen = Counts()

    def choose(self, logits: Logits, history: Sequence[int]) -> int:
        """The next token. `history` is everything evaluated, prompt and answer; not changed.

        Raises ModelCannotRun when the logits are no numbers.
        """
        values = self._values
        logits = penalise(logits, history, values, self._chosen)
        if values.temperature <= 0:
            token = greediest(logits)
        else:
            ids, ordered = keep(logits, values)
            token = int(ids[draw(ordered, values.temperature, self._random.random())])
        if values.presence_penalty or values.frequency_penalty:
            self._chosen.add(token)
        return token


def _unsigned(seed: int | None) -> int | None:
    """OpenAI's seeds are signed 64-bit numbers, NumPy's are not negative."""
    return seed if seed is None else seed & 0xFFFF_FFFF_FFFF_FFFF


class Counts:
    """How often each token was chosen, as two arrays that grow: counting anew would be slow."""

    def __init__(self) -> None:
        self._place: dict[int, int] = {}
        self._ids = np.zeros(64, np.intp)
        self._counts = np.zeros(64, np.float32)

    def add(self, token: int) -> None:
        place = self._place.setdefault(token, len(self._place))
        if place == len(self._ids):
            self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
        self._ids[place] = token
        self._counts[place] += 1

    def arrays(self) -> tuple[Ids, NDArray[np.float32]]:
        """Distinct tokens, and how often each was chosen (at least once)."""
        size = len(self._place)
        return self._ids[:size], self._counts[:size]


def penalise(logits: Logits, history: Sequence[int], values: Parameters, chosen: Counts) -> Logits:
    """The logits with all penalties; the same array where there is none, else a copy.

    `repeat_penalty` as llama.cpp's, over the last `repeat_last_n` of the history (-1: all of it);
    presence and frequency as OpenAI's, over the answer.
    """
    ids, counts = chosen.arrays()
    recent = _recent(history, values) if values.repeat_penalty != 1 else []
    if not recent and not len(ids):
        return logits
    logits = logits.copy()
    if recent:
        places = np.array(recent)
        found = logits[places]
        penalty = np.float32(values.repeat_penalty)
        logits[places] = np.where(found > 0, found / penalty, found * penalty)
    logits[ids] -= counts * np.float32(values.frequency_penalty)
    logits[ids] -= np.float32(values.presence_penalty)
    return logits


def _recent(history: Sequence[int], values: Parameters) -> list[int]:
    count = values.repeat_last_n
    if count == 0:
        return []
    return list(set(history if count < 0 else history[-count:]))


def greediest(logits: Logits) -> int:
    token = int(logits.argmax())
    _check_numbers(logits[token])
    return token


def _check_numbers(peak: np.float32) -> None:
    """NaN comes out on top of both argmax and max."""
    if not np.isfinite(peak):
        raise ModelCannotRun("The model computes no numbers: its weights are damaged.")


def keep(logits: Logits, values: Parameters) -> tuple[Ids, Numbers]:
    """The tokens that may be drawn, the likeliest first, and their logits."""
    maxima = block_maxima(logits)
    peak = maxima.max()
    _check_numbers(peak)
    total = None
    if 0 < values.top_k < len(logits):
        ids = largest(logits, maxima, values.top_k)
    elif values.top_p < 1:
        weights = np.exp(logits - peak)
        total = float(weights.sum())
        ids = nucleus_candidates(logits, maxima, weights, values.top_p * total)
    elif values.min_p > 0:
        # A little below the bound, as these are single-precision numbers.
        bound = peak + np.float32(np.log(values.min_p)) - np.float32(0.001)
        ids = in_order(logits, (logits >= bound).nonzero()[0])
    else:
        return np.arange(len(logits)), logits
    ordered = logits[ids].astype(np.float64)
    count = _count_kept(np.exp(ordered - float(peak)), values, total)
    return ids[:count], ordered[:count]


def _count_kept(weights: NDArray[np.float64], values: Parameters, total: float | None) -> int:
    """How many of the ordered candidates top-p and min-p leave; at least one."""
    count = len(weights)
    if values.top_p < 1:
        sums = weights.cumsum()
        wanted = values.top_p * (sums[-1] if total is None else total)
        count = min(count, int(sums.searchsorted(wanted)) + 1)
    if values.min_p > 0:
        count = min(count, int((weights >= values.min_p).sum()))
    return max(count, 1)


def block_maxima(logits: Logits) -> Logits:
    """The maxima of 256 blocks, which together are all the logits; few logits are their own."""
    width = len(logits) // BLOCKS
    if width < SMALLEST_BLOCK:
        return logits
    maxima: Logits = logits[: width * BLOCKS].reshape(width, BLOCKS).max(axis=0)
    rest = logits[width * BLOCKS :]
    np.maximum(maxima[: len(rest)], rest, out=maxima[: len(rest)])
    return maxima


def largest(logits: Logits, maxima: Logits, count: int) -> Ids:
    """The ids of the `count` largest, in falling order; `maxima` are those of the blocks."""
    if count >= len(logits):
        return in_order(logits, np.arange(len(logits)))
    source = maxima if count <= len(maxima) // 2 else logits
    place = len(source) - count
    bound = np.partition(source, place)[place]
    return in_order(logits, (logits >= bound).nonzero()[0])[:count]


def in_order(logits: Logits, ids: Ids) -> Ids:
    """`ids`, which rise, by falling logit; a stable sort keeps the lower id first."""
    return ids[np.argsort(-logits[ids], kind="stable")]


def nucleus_candidates(logits: Logits, maxima: Logits, weights: Logits, wanted: float) -> Ids:
    """Tokens in falling order that weigh `wanted` or more together, and few others."""
    ids = largest(logits, maxima, LIKELY_NUCLEUS)
    if float(weights[ids].sum(dtype=np.float64)) >= wanted:
        return ids
    below = (maxima.max() - logits) * STEPS_PER_LOGIT
    steps = np.minimum(below, STEPS - 1).astype(np.intp)
    reached = int(np.bincount(steps, weights).cumsum().searchsorted(wanted))
    # One step more, as the sums are rounded.
    return in_order(logits, (steps <= reached + 1).nonzero()[0])


def draw(ordered: Numbers, temperature: float, chance: float) -> int:
    """The place in `ordered` that `chance`, in [0, 1), falls on.

    The largest is taken off first, so that no temperature overflows.
    """
    with np.errstate(over="ignore"):
        weights = np.exp((ordered - ordered.max()) / max(temperature, COLDEST))
    sums = weights.cumsum(dtype=np.float64)
    return min(int(sums.searchsorted(chance * sums[-1], side="right")), len(sums) - 1)
