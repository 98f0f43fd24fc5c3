"""Sampling, against a plain reference that sorts everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from jan_server.engines.base import Parameters
from jan_server.engines.ctransformers.sampling import (
    BLOCKS,
    Counts,
    Logits,
    Sampler,
    block_maxima,
    draw,
    greediest,
    keep,
    largest,
    penalise,
)
from jan_server.errors import ModelCannotRun


def sampling(**given: Any) -> Parameters:
    """Greedy, and every step off, but for what is given."""
    return Parameters(**{"temperature": 0.0, "top_p": 1.0, **given})


def reference_keep(logits: Logits, values: Parameters) -> list[int]:
    """llama.cpp's order, written out with a full sort: top-k, top-p, min-p."""
    ids = sorted(range(len(logits)), key=lambda id: (-logits[id], id))
    if values.top_k > 0:
        ids = ids[: values.top_k]
    if values.top_p < 1:
        weights = np.exp(logits[ids].astype(np.float64) - float(logits.max()))
        sums = (weights / weights.sum()).cumsum()
        ids = ids[: int((sums < values.top_p).sum()) + 1]
    if values.min_p > 0:
        least = float(logits.max()) + np.log(values.min_p)
        ids = [id for id in ids if float(logits[id]) >= least] or ids[:1]
    return ids


def reference_penalise(
    logits: Logits, history: Sequence[int], answer: Sequence[int], values: Parameters
) -> Logits:
    changed = logits.copy()
    last = values.repeat_last_n
    for id in set(history[len(history) - last :] if last >= 0 else history):
        changed[id] = np.float32(
            changed[id] / np.float32(values.repeat_penalty)
            if changed[id] > 0
            else changed[id] * np.float32(values.repeat_penalty)
        )
    for id, count in Counter(answer).items():
        changed[id] -= np.float32(count) * np.float32(values.frequency_penalty)
        changed[id] -= np.float32(values.presence_penalty)
    return changed


def logits_of(shape: str, size: int, seed: int) -> Logits:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, size)
    if shape == "sharp":
        logits[random.integers(0, size, 12)] += 14
    elif shape == "middling":
        logits = random.gumbel(0, 2.5, size)
    elif shape == "ties":
        logits = np.round(logits)
    return logits.astype(np.float32)


SETTINGS = [
    sampling(top_k=1),
    sampling(top_k=40),
    sampling(top_k=40, top_p=0.9),
    sampling(top_k=40, top_p=0.9, min_p=0.05),
    sampling(top_k=BLOCKS * 2, top_p=0.99),
    sampling(top_k=10**6, top_p=0.5),
    sampling(top_p=0.95),
    sampling(top_p=0.5, min_p=0.1),
    sampling(top_p=0.999),
    sampling(top_p=0.0),
    sampling(min_p=0.05),
    sampling(min_p=1.0),
    sampling(min_p=1e-6),
]


@pytest.mark.parametrize("values", SETTINGS, ids=repr)
@pytest.mark.parametrize("shape", ["flat", "sharp", "middling", "ties"])
def test_what_is_kept_is_what_a_full_sort_keeps(values: Parameters, shape: str) -> None:
    for size in (7, 300, 5000, 8193):
        for seed in range(3):
            logits = logits_of(shape, size, seed)
            before = logits.copy()
            ids, ordered = keep(logits, values)
            expected = reference_keep(logits, values)
            # Where nothing is cut, nothing is sorted.
            assert (sorted(ids) if len(expected) == size else ids.tolist()) == (
                sorted(expected) if len(expected) == size else expected
            )
            assert (ordered == logits[ids]).all()
            assert (logits == before).all()


def test_without_any_limit_everything_is_kept() -> None:
    logits = logits_of("flat", 100, 0)
    ids, ordered = keep(logits, sampling())
    assert (ids.tolist(), ordered.tolist()) == ([*range(100)], logits.tolist())


def test_the_largest_of_a_size_between_the_ways_to_find_them() -> None:
    logits = logits_of("ties", 5000, 1)
    everything = sorted(range(5000), key=lambda id: (-logits[id], id))
    for count in (1, BLOCKS // 2, BLOCKS // 2 + 1, 4999, 5000, 6000):
        assert largest(logits, block_maxima(logits), count).tolist() == everything[:count]


@pytest.mark.parametrize(
    "values",
    [
        sampling(repeat_penalty=1.3),
        sampling(repeat_penalty=1.3, repeat_last_n=3),
        sampling(repeat_penalty=1.3, repeat_last_n=-1),
        sampling(repeat_penalty=1.3, repeat_last_n=0),
        sampling(presence_penalty=0.7),
        sampling(frequency_penalty=-0.3),
        sampling(repeat_penalty=0.9, presence_penalty=1.5, frequency_penalty=0.4),
    ],
    ids=repr,
)
def test_penalties_are_those_of_the_reference(values: Parameters) -> None:
    random = np.random.default_rng(3)
    logits = logits_of("flat", 200, 2)
    history = random.integers(0, 200, 150).tolist()
    answer = history[-100:]
    chosen = Counts()
    for token in answer:
        chosen.add(token)
    before = logits.copy()
    changed = penalise(logits, history, values, chosen)
    expected = reference_penalise(logits, history, answer, values)
    assert np.allclose(changed, expected, rtol=0, atol=1e-5)
    assert (logits == before).all()


def test_without_penalties_nothing_is_copied() -> None:
    logits = logits_of("flat", 50, 0)
    assert penalise(logits, [1, 2], sampling(), Counts()) is logits


def choices(values: Parameters, logits: Logits, count: int = 200) -> list[int]:
    sampler = Sampler(values)
    return [sampler.choose(logits, []) for _ in range(count)]


def test_greedy_takes_the_largest_and_the_first_of_equals() -> None:
    logits = np.array([1, 3, 3, 2], np.float32)
    assert choices(sampling(), logits, 3) == [1, 1, 1]


def test_greedy_minds_the_penalties() -> None:
    logits = np.array([5, 4.5, 4.2, -3], np.float32)
    assert choices(sampling(presence_penalty=1.0), logits, 6) == [0, 1, 2, 0, 0, 0]
    assert choices(sampling(frequency_penalty=1.0), logits, 6) == [0, 1, 2, 0, 1, 2]


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    logits = logits_of("flat", 300, 0)
    values = sampling(temperature=1.0, top_p=0.9, seed=1)
    assert choices(values, logits) == choices(values, logits)
    other = msgspec.structs.replace(values, seed=-1)
    assert choices(values, logits) != choices(other, logits) == choices(other, logits)


def test_without_a_seed_each_sampler_draws_its_own() -> None:
    logits = logits_of("flat", 300, 0)
    assert choices(sampling(temperature=1.0), logits) != choices(sampling(temperature=1.0), logits)


def test_draws_are_as_frequent_as_their_probabilities() -> None:
    logits = np.log(np.array([0.1, 0.6, 0.3], np.float32))
    for values in (sampling(temperature=1.0, seed=5), sampling(temperature=1.0, top_k=2, seed=5)):
        ids, _ = keep(logits, values)
        found = Counter(choices(values, logits, 20_000))
        wanted = np.exp(logits[ids]) / np.exp(logits[ids]).sum()
        assert [found[id] / 20_000 for id in ids] == pytest.approx(wanted, abs=0.012)


@pytest.mark.parametrize(
    ("temperature", "chance", "place"),
    [
        (1.0, 0.0, 0),
        (1.0, 0.49, 0),
        (1.0, 0.51, 1),
        (1.0, 0.999999999, 1),
        (1e-9, 0.5, 0),
        (1e300, 0.7, 1),
    ],
)
def test_draw(temperature: float, chance: float, place: int) -> None:
    equal = np.array([2.0, 2.0])
    apart = np.array([2.0, 1.0])
    assert draw(apart if temperature == 1e-9 else equal, temperature, chance) == place


@pytest.mark.parametrize("values", [sampling(), sampling(temperature=1.0, top_p=0.9)], ids=repr)
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_an_error(values: Parameters, number: float) -> None:
    logits = np.array([1, number, 2], np.float32)
    with pytest.raises(ModelCannotRun, match="weights are damaged"):
        choices(values, logits, 1)
    assert greediest(np.array([1, -np.inf], np.float32)) == 0


def test_tokens_of_no_probability_are_never_drawn() -> None:
    logits = np.array([-np.inf, 1, -np.inf, 1], np.float32)
    every: list[dict[str, Any]] = [{}, {"top_k": 3}, {"top_p": 0.99}, {"min_p": 0.1}]
    for limits in every:
        assert set(choices(sampling(temperature=5.0, seed=0, **limits), logits)) == {1, 3}


def test_a_temperature_that_float32_does_not_know_is_greedy() -> None:
    logits = logits_of("flat", 300, 0)
    coldest = sampling(temperature=1e-50, top_p=1.0, top_k=0, seed=0)
    assert set(choices(coldest, logits)) == {int(logits.argmax())}
