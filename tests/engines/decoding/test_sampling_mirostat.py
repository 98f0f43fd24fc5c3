"""Mirostat, against llama.cpp's lines written out."""

from __future__ import annotations

import numpy as np
import pytest

from jan_server.engines.base import Parameters
from jan_server.engines.decoding.sampling.drawing import drawn
from jan_server.engines.decoding.sampling.mirostat import (
    Mirostat,
    of_surprise,
    of_zipf,
    zipf_count,
)
from jan_server.errors import InvalidRequest, ModelCannotRun
from tests.engines.decoding.sampling_reference import (
    Logits,
    falling,
    logits_of,
    probabilities,
    sampling,
    surprising,
    zipf_kept,
)

EITHER = [sampling(mirostat=1, temperature=1.0), sampling(mirostat=2, temperature=1.0)]


@pytest.mark.parametrize("shape", ["flat", "sharp", "middling", "ties"])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("size", [5, 101, 8000])
def test_zipfs_law_tells_how_many_are_left(shape: str, temperature: float, size: int) -> None:
    logits = logits_of(shape, size, 1)
    for mu in (0.5, 3.0, 10.0):
        ids, _ = of_zipf(logits - logits.max(), temperature, mu)
        count = zipf_kept(logits, temperature, mu)
        assert ids.tolist() == ([*range(size)] if count == size else falling(logits)[:count])


@pytest.mark.parametrize("shape", ["flat", "sharp", "middling", "ties", "holes"])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("size", [1, 5, 8000])
def test_what_surprises_more_than_mu_is_cut(shape: str, temperature: float, size: int) -> None:
    logits = logits_of(shape, size, 1)
    for mu in (-1e6, -3.0, 0.5, 3.0, 10.0):
        ids, _ = of_surprise(logits - logits.max(), temperature, mu)
        assert ids.tolist() == sorted(surprising(logits, temperature, mu))


@pytest.mark.parametrize(
    ("ordered", "mu", "count"),
    [
        ([1.0], 10.0, 1),
        ([1.0, 1.0, 1.0], 10.0, 50),  # nothing falls: Zipf's exponent is 0
        ([3.0, 2.0], 1e9, 50),
        ([3.0, 2.0], -1e9, 1),
        ([1e6, 0.0], 10.0, 1),
        # An exponent of 1, where the formula is 0 / 0: k = 2^mu / ln 50.
        (np.log([1, 1 / 2, 1 / 3, 1 / 4]), 6.0, 16),
    ],
)
def test_where_the_formula_has_no_value_its_limit_holds(
    ordered: list[float], mu: float, count: int
) -> None:
    assert zipf_count(np.array(ordered), mu, 50) == count


def test_tokens_of_no_probability_tell_nothing_of_zipfs_law() -> None:
    logits = np.array([3, -np.inf, 2, -np.inf, 1], np.float32)
    ids, weights = of_zipf(logits - logits.max(), 1.0, 1e9)
    assert weights[ids.tolist().index(1)] == 0
    assert zipf_count(np.array([3.0, 2.0, 1.0]), 0.5, 5) == len(
        of_zipf(logits - logits.max(), 1.0, 0.5)[0]
    )


def chosen(values: Parameters, logits: Logits, count: int) -> tuple[list[int], list[float]]:
    """The tokens, and what mu was before each."""
    chances = np.random.default_rng(4).random(count)
    mirostat = Mirostat(values)
    tokens, mus = [], []
    for chance in chances.tolist():
        mus.append(mirostat.mu)
        tokens.append(mirostat.pick(logits, values.temperature, chance))
    return tokens, mus


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("tau", "eta"), [(5.0, 0.1), (2.0, 0.5)])
def test_mu_follows_the_surprise(version: int, tau: float, eta: float) -> None:
    logits = logits_of("middling", 500, 0)
    values = sampling(mirostat=version, mirostat_tau=tau, mirostat_eta=eta, temperature=0.8)
    tokens, mus = chosen(values, logits, 30)
    assert mus[0] == 2 * tau
    for token, mu, then in zip(tokens, mus, mus[1:], strict=False):
        left = (
            falling(logits)[: zipf_kept(logits, 0.8, mu)]
            if version == 1
            else surprising(logits, 0.8, mu)
        )
        surprise = -np.log2(probabilities(logits[left], 0.8)[left.index(token)])
        assert then == pytest.approx(mu - eta * (surprise - tau), abs=1e-4)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("tau", [2.0, 4.0])
def test_the_surprise_comes_to_be_tau(version: int, tau: float) -> None:
    logits = logits_of("flat", 3000, 0)
    values = sampling(mirostat=version, mirostat_tau=tau, temperature=1.0)
    _, mus = chosen(values, logits, 400)
    surprises = tau - np.diff(mus) / values.mirostat_eta
    assert surprises[100:].mean() == pytest.approx(tau, abs=0.15)


@pytest.mark.parametrize("values", EITHER, ids=repr)
def test_numbers_are_checked(values: Parameters) -> None:
    for number, error in ((np.nan, ModelCannotRun), (-np.inf, InvalidRequest)):
        logits = np.full(5000, number, np.float32)
        with pytest.raises(error):
            Mirostat(values).pick(logits, 1.0, 0.5)


def test_blocks_are_drawn_from_as_a_whole_is() -> None:
    weights = np.random.default_rng(0).random(10_001).astype(np.float32)
    weights[:700] = weights[5000:6000] = weights[-300:] = 0
    sums = weights.cumsum(dtype=np.float64)
    for chance in (0.0, *np.random.default_rng(1).random(300).tolist(), 1 - 2**-53):
        place = drawn(weights, chance)
        assert weights[place] > 0
        assert sums[place - 1] - 1e-6 <= chance * sums[-1] <= sums[place] + 1e-6
