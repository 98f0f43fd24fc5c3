"""One answer's choices: every parameter, alone and together, against the plain reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jan_server.engines.base import Parameters
from jan_server.engines.decoding.sampling import Sampler
from jan_server.engines.decoding.sampling.candidates import keep
from jan_server.engines.decoding.sampling.drawing import draw
from jan_server.engines.decoding.sampling.masks import Mask
from jan_server.engines.decoding.sampling.sampler import NUMBERS_AT_ONCE, numbers
from jan_server.errors import InvalidRequest, ModelCannotRun
from tests.engines.decoding.sampling_reference import (
    Logits,
    changed,
    kept,
    logits_of,
    packed,
    probabilities,
    sampling,
)

ENDS = (0, 3)


def choices(
    values: Parameters, logits: Logits, count: int = 200, *, mask: Mask | None = None
) -> list[int]:
    sampler = Sampler(values, ends=ENDS)
    return [sampler.choose(logits, [], mask) for _ in range(count)]


def test_greedy_takes_the_largest_and_the_first_of_equals() -> None:
    logits = np.array([1, 3, 3, 2], np.float32)
    assert choices(sampling(), logits, 3) == [1, 1, 1]


FIVE = np.array([5, 4.5, 4.2, 4.1, -3], np.float32)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [0, 0, 0, 0, 0, 0]),
        ({"presence_penalty": 1.0}, [0, 1, 2, 3, 0, 0]),
        ({"frequency_penalty": 1.0}, [0, 1, 2, 3, 0, 1]),
        ({"logit_bias": {2: 1.0}}, [2, 2, 2, 2, 2, 2]),
        ({"logit_bias": {0: -100.0}}, [1, 1, 1, 1, 1, 1]),
        ({"logit_bias": {4: 100.0}}, [4, 4, 4, 4, 4, 4]),
        ({"ignore_eos": True}, [1, 1, 1, 1, 1, 1]),
    ],
)
def test_greedy_minds_what_changes_logits(given: dict[str, Any], expected: list[int]) -> None:
    assert choices(sampling(**given), FIVE, 6) == expected


@pytest.mark.parametrize(
    ("given", "history", "expected"),
    [
        ({"repeat_penalty": 1.3}, [0], 1),
        ({"repeat_penalty": 1.3}, [0, *[4] * 64], 0),
        ({"repeat_penalty": 1.3, "repeat_last_n": 65}, [0, *[4] * 64], 1),
        ({"repeat_penalty": 1.3, "repeat_last_n": -1}, [0, *[4] * 640], 1),
        ({"repeat_penalty": 1.3, "repeat_last_n": 1}, [0, 1], 0),
    ],
)
def test_the_repeat_penalty_looks_at_the_last_of_the_history(
    given: dict[str, Any], history: list[int], expected: int
) -> None:
    assert Sampler(sampling(**given)).choose(FIVE, history) == expected


@pytest.mark.parametrize(
    "given",
    [
        {"top_k": 5},
        {"top_p": 0.3},
        {"min_p": 0.2},
        {"typical_p": 0.3},
        {"mirostat": 1, "mirostat_tau": 1.0},
        {"mirostat": 2, "mirostat_tau": 1.0},
        {"mirostat": 2, "mirostat_tau": 3.0},
        {"mirostat": 2, "mirostat_tau": 1.0, "mirostat_eta": 0.9},
        {"temperature": 0.2},
        {"seed": 2},
    ],
    ids=repr,
)
def test_each_parameter_of_the_draw_makes_another_answer(given: dict[str, Any]) -> None:
    logits = logits_of("flat", 300, 0)
    usual = sampling(temperature=1.0, seed=1)
    other = msgspec.structs.replace(usual, **given)
    assert choices(usual, logits) != choices(other, logits) == choices(other, logits)


def test_typical_leaves_the_likeliest_out_where_it_is_not_typical() -> None:
    """The likeliest weighs 0.3; the ten others 0.07 each, which is nearer to the entropy."""
    logits = np.log(np.array([0.3, *[0.07] * 10], np.float32))
    found = choices(sampling(temperature=1.0, typical_p=0.6, seed=0), logits)
    assert set(found) == {*range(1, 10)}


def test_mirostat_takes_the_place_of_the_cuts_but_not_of_temperature_0() -> None:
    logits = logits_of("flat", 300, 0)
    mirostat = sampling(temperature=1.0, mirostat=2, seed=1)
    cut = msgspec.structs.replace(mirostat, top_k=1, top_p=0.1, min_p=0.9, typical_p=0.1)
    assert choices(mirostat, logits) == choices(cut, logits)
    greedy = msgspec.structs.replace(mirostat, temperature=0.0)
    assert set(choices(greedy, logits)) == {int(logits.argmax())}


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    logits = logits_of("flat", 300, 0)
    values = sampling(temperature=1.0, top_p=0.9, seed=1)
    assert choices(values, logits) == choices(values, logits)
    other = msgspec.structs.replace(values, seed=-1)
    assert choices(values, logits) != choices(other, logits) == choices(other, logits)


def test_without_a_seed_each_sampler_draws_its_own() -> None:
    logits = logits_of("flat", 300, 0)
    assert choices(sampling(temperature=1.0), logits) != choices(sampling(temperature=1.0), logits)


def test_a_seeds_numbers_do_not_depend_on_how_many_are_drawn_at_once() -> None:
    random = np.random.default_rng(9)
    expected = [random.random() for _ in range(NUMBERS_AT_ONCE * 2 + 1)]
    assert [*islice(numbers(9), len(expected))] == expected


@pytest.mark.parametrize("given", [{"top_p": 0.9}, {"frequency_penalty": 1.0, "top_k": 50}])
def test_a_token_that_was_forced_counts_like_one_that_was_drawn(given: dict[str, Any]) -> None:
    """Every third token is forced to be what it would have been: all others stay as they are."""
    logits = logits_of("flat", 300, 0)
    values = sampling(temperature=1.0, seed=1, **given)
    expected = choices(values, logits, 60)
    sampler = Sampler(values)
    found = []
    for place, token in enumerate(expected):
        if place % 3 == 1:
            sampler.accept(token)
            found.append(token)
        else:
            found.append(sampler.choose(logits, []))
    assert found == expected


def test_a_forced_token_is_penalised_like_a_chosen_one() -> None:
    sampler = Sampler(sampling(presence_penalty=1.0))
    sampler.accept(0)
    assert sampler.choose(FIVE, []) == 1


def test_draws_are_as_frequent_as_their_probabilities() -> None:
    logits = np.log(np.array([0.1, 0.6, 0.3], np.float32))
    for values in (sampling(temperature=1.0, seed=5), sampling(temperature=1.0, top_k=2, seed=5)):
        ids = kept(logits, values)
        found = Counter(choices(values, logits, 20_000))
        assert [found[id] / 20_000 for id in ids] == pytest.approx(
            probabilities(logits[ids]), abs=0.012
        )


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
    equal = np.array([0.0, 0.0])
    apart = np.array([0.0, -1.0])
    assert draw(apart if temperature == 1e-9 else equal, temperature, chance) == place


def test_tokens_of_no_probability_are_never_drawn() -> None:
    logits = np.array([-np.inf, 1, -np.inf, 1], np.float32)
    every: list[dict[str, Any]] = [
        {},
        {"top_k": 3},
        {"top_p": 0.99},
        {"min_p": 0.1},
        {"typical_p": 0.9},
        {"mirostat": 1},
        {"mirostat": 2},
    ]
    for limits in every:
        assert set(choices(sampling(temperature=5.0, seed=0, **limits), logits)) == {1, 3}


@pytest.mark.parametrize("given", [{}, {"mirostat": 1}, {"mirostat": 2}])
def test_a_temperature_that_float32_does_not_know_is_greedy(given: dict[str, Any]) -> None:
    logits = logits_of("flat", 300, 0)
    coldest = sampling(temperature=1e-50, seed=0, **given)
    assert set(choices(coldest, logits)) == {int(logits.argmax())}


EVERY_WAY: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {"top_p": 0.95},
    {"top_k": 40, "top_p": 0.95, "repeat_penalty": 1.1},
    {"typical_p": 0.9},
    {"min_p": 0.1},
    {"mirostat": 1},
    {"mirostat": 2},
]


@pytest.mark.parametrize("given", EVERY_WAY, ids=repr)
@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_only_tokens_that_the_mask_allows_are_chosen(given: dict[str, Any], share: float) -> None:
    random = np.random.default_rng(2)
    allowed = {id for id in range(5000) if random.random() < share} | {17}
    logits = logits_of("middling", 5000, 1)
    values = sampling(**{"temperature": 1.0, "seed": 1, **given})
    masked = np.where(np.isin(np.arange(5000), [*allowed]), logits, -np.inf).astype(np.float32)
    sampler = Sampler(values)
    found = [sampler.choose(logits, [17, 18], packed(allowed, 5000)) for _ in range(50)]
    assert set(found) <= allowed
    if not values.mirostat:
        sampler = Sampler(values)
        assert found == [sampler.choose(masked, [17, 18]) for _ in range(50)]


@pytest.mark.parametrize("given", EVERY_WAY, ids=repr)
def test_a_single_allowed_token_is_chosen(given: dict[str, Any]) -> None:
    logits = logits_of("flat", 5000, 1)
    values = sampling(**{"temperature": 1.0, **given})
    assert choices(values, logits, 5, mask=packed({4321}, 5000)) == [4321] * 5


@pytest.mark.parametrize("given", EVERY_WAY, ids=repr)
def test_where_everything_is_excluded_the_request_was_wrong(given: dict[str, Any]) -> None:
    logits = logits_of("flat", 5000, 1)
    values = sampling(**{"temperature": 1.0, "ignore_eos": True, **given})
    for mask in (packed(ENDS, 5000), packed((), 5000)):
        with pytest.raises(InvalidRequest, match="No token is left"):
            choices(values, logits, 1, mask=mask)


@pytest.mark.parametrize("given", EVERY_WAY, ids=repr)
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_an_error(given: dict[str, Any], number: float) -> None:
    logits = np.array([1, number, 2], np.float32)
    for mask in (None, packed({0, 1, 2}, 3)):
        with pytest.raises(ModelCannotRun, match="weights are damaged"):
            choices(sampling(**{"temperature": 1.0, **given}), logits, 1, mask=mask)


def reference_choices(
    logits: Logits, history: Sequence[int], values: Parameters, *, mask: set[int], count: int
) -> list[tuple[int, bool]]:
    """Each token with whether the draw was far from the next one's, so that rounding is nothing."""
    answer: list[int] = []
    found = []
    for chance in islice(numbers(values.seed), count):
        masked = changed(logits, [*history, *answer], answer, values, ENDS)
        masked[[id for id in range(len(logits)) if id not in mask]] = -np.inf
        ids = kept(masked, values)
        if keep(masked, values)[0] is None:
            ids = sorted(ids)  # where nothing is cut, tokens are drawn in the order of their ids
        sums = probabilities(masked[ids], values.temperature).cumsum()
        place = min(int((sums <= chance).sum()), len(ids) - 1)
        answer.append(ids[place])
        found.append((ids[place], bool(np.abs(sums - chance).min() > 1e-4)))
    return found


@settings(deadline=None)
@given(
    values=st.builds(
        sampling,
        temperature=st.floats(0.3, 2),
        top_k=st.integers(0, 12),
        typical_p=st.sampled_from([1.0, 0.9, 0.37]),
        top_p=st.sampled_from([1.0, 0.953, 0.4]),
        min_p=st.sampled_from([0.0, 0.0512]),
        repeat_penalty=st.sampled_from([1.0, 1.13]),
        repeat_last_n=st.sampled_from([64, 3, -1]),
        presence_penalty=st.sampled_from([0.0, 0.61]),
        frequency_penalty=st.sampled_from([0.0, 0.37]),
        logit_bias=st.dictionaries(st.integers(0, 59), st.floats(-100, 5), max_size=3),
        ignore_eos=st.booleans(),
        seed=st.integers(-(2**63), 2**63 - 1),
    ),
    mask=st.one_of(st.just({*range(60)}), st.sets(st.integers(0, 59), max_size=30)),
    logits=st.builds(logits_of, st.just("flat"), st.just(60), st.integers(0, 99)),
)
def test_whole_answers_are_those_of_the_reference(
    values: Parameters, mask: set[int], logits: Logits
) -> None:
    mask |= {4, 5, 6, 7}
    history = [1, 2, 2, 40]
    sampler = Sampler(values, ends=ENDS)
    answer: list[int] = []
    for token, is_sure in reference_choices(logits, history, values, mask=mask, count=8):
        found = sampler.choose(logits, [*history, *answer], packed(mask, 60))
        if not is_sure:
            return
        assert found == token
        answer.append(token)
