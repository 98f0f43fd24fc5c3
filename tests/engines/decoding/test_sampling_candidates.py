"""Top-k, typical, top-p and min-p keep what a full sort keeps."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jan_server.engines.base import Parameters
from jan_server.engines.decoding.sampling.candidates import keep
from jan_server.engines.decoding.sampling.ranking import (
    BLOCKS,
    block_maxima,
    greediest,
    largest,
)
from jan_server.errors import InvalidRequest, ModelCannotRun
from tests.engines.decoding.sampling_reference import (
    Logits,
    falling,
    kept,
    logits_of,
    sampling,
)

SETTINGS = [
    sampling(top_k=1),
    sampling(top_k=40),
    sampling(top_k=BLOCKS * 2),
    sampling(top_k=10**6, top_p=0.5),
    sampling(top_p=0.95),
    sampling(top_p=0.999),
    sampling(top_p=0.0),
    sampling(min_p=0.05),
    sampling(min_p=1.0),
    sampling(min_p=1e-6),
    sampling(typical_p=0.95),
    sampling(typical_p=0.2),
    sampling(typical_p=0.0),
    sampling(typical_p=0.9999),
    sampling(top_k=40, typical_p=0.6),
    sampling(top_k=40, top_p=0.9),
    sampling(top_k=40, min_p=0.05),
    sampling(top_k=BLOCKS * 2, top_p=0.99),
    sampling(typical_p=0.9, top_p=0.8),
    sampling(typical_p=0.3, min_p=0.3),
    sampling(top_p=0.5, min_p=0.1),
    sampling(top_k=40, top_p=0.9, min_p=0.05),
    sampling(top_k=100, typical_p=0.9, top_p=0.9, min_p=0.02),
]
SHAPES = ["flat", "sharp", "middling", "ties", "holes"]


def with_masses(values: Parameters, *, times: float) -> Parameters:
    """Parameters that cut a little elsewhere."""
    return msgspec.structs.replace(
        values,
        typical_p=values.typical_p * times,
        top_p=values.top_p * times,
        min_p=values.min_p * times,
    )


def check(logits: Logits, values: Parameters) -> None:
    """Exact but for a millionth of the mass: weights are single-precision numbers."""
    before = logits.copy()
    ids, below = keep(logits, values)
    assert ids is not None
    found = ids.tolist()
    if found != kept(logits, values):
        least, most = (kept(logits, with_masses(values, times=by)) for by in (1 - 1e-6, 1 + 1e-6))
        these = set(found)
        assert set(least) <= these <= set(most)
        assert found == [id for id in most if id in these]
    assert below.tolist() == (logits[ids].astype(float) - float(logits[ids[0]])).tolist()
    assert (logits == before).all()


@pytest.mark.parametrize("values", SETTINGS, ids=repr)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_kept_is_what_a_full_sort_keeps(values: Parameters, shape: str) -> None:
    for size in (7, 300, 8193):
        for seed in range(3):
            logits = logits_of(shape, size, seed)
            if not 0 < values.top_k < size and values == sampling(top_k=values.top_k):
                ids, below = keep(logits, values)
                assert ids is None
                assert (below == logits - logits.max()).all()
            else:
                check(logits, values)


@pytest.mark.parametrize("values", SETTINGS, ids=repr)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_kept_of_a_whole_vocabulary(values: Parameters, shape: str) -> None:
    check(logits_of(shape, 49_152, 7), values)


numbers = st.one_of(
    st.floats(-30, 30, width=32), st.integers(-4, 4).map(float), st.just(float("-inf"))
)
cuts = st.builds(
    sampling,
    top_k=st.integers(0, 12),
    typical_p=st.one_of(st.just(1.0), st.floats(0, 1)),
    top_p=st.one_of(st.just(1.0), st.floats(0, 1)),
    min_p=st.one_of(st.just(0.0), st.floats(1e-6, 1)),
)


@given(st.lists(numbers, min_size=1, max_size=40), cuts)
def test_any_few_logits_under_any_cuts(given: list[float], values: Parameters) -> None:
    logits = np.array(given, np.float32)
    assume(logits.max() > -np.inf)
    # Where rounding decides, either is right.
    near = [with_masses(values, times=by) for by in (1 - 1e-5, 1 + 1e-5)]
    assume(all(kept(logits, other) == kept(logits, values) for other in near))
    ids, _ = keep(logits, values)
    if ids is None:
        assert sorted(kept(logits, values)) == [*range(len(logits))]
    else:
        assert ids.tolist() == kept(logits, values)


def test_the_largest_of_a_size_between_the_ways_to_find_them() -> None:
    logits = logits_of("ties", 5000, 1)
    for count in (0, 1, BLOCKS // 2, BLOCKS // 2 + 1, 4999, 5000, 6000):
        assert largest(logits, count).tolist() == falling(logits)[:count]
        assert (
            largest(logits, count, maxima=block_maxima(logits)).tolist() == falling(logits)[:count]
        )


def test_typical_tokens_that_are_not_among_the_likeliest_are_found() -> None:
    """One token weighs half, 40,000 share the rest: these are nearer to the entropy."""
    logits = np.zeros(40_001, np.float32)
    logits[5] = np.log(np.float32(40_000))
    check(logits, sampling(typical_p=0.4))


@pytest.mark.parametrize("values", [sampling(), *SETTINGS], ids=repr)
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_an_error(values: Parameters, number: float) -> None:
    for size in (3, 5000):
        logits = logits_of("flat", size, 0)
        logits[1] = number
        with pytest.raises(ModelCannotRun, match="weights are damaged"):
            keep(logits, values)
        with pytest.raises(ModelCannotRun, match="weights are damaged"):
            greediest(logits)


@pytest.mark.parametrize("values", [sampling(), *SETTINGS], ids=repr)
@pytest.mark.parametrize("size", [0, 3, 5000])
def test_where_no_token_is_left_nothing_can_be_kept(values: Parameters, size: int) -> None:
    logits = np.full(size, -np.inf, np.float32)
    with pytest.raises(InvalidRequest, match="No token is left"):
        keep(logits, values)
    with pytest.raises(InvalidRequest, match="No token is left"):
        greediest(logits)
