"""Bias, penalties and tokens that are never chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jan_server.engines.base import Parameters
from jan_server.engines.decoding.sampling import check_bias
from jan_server.engines.decoding.sampling.changes import Changes
from jan_server.errors import InvalidRequest
from tests.engines.decoding.sampling_reference import changed, logits_of, sampling

ENDS = (2, 7)


def check(values: Parameters, history: Sequence[int], answer: Sequence[int], seed: int) -> None:
    logits = logits_of("flat", 200, seed)
    before = logits.copy()
    changes = Changes(values, never=ENDS if values.ignore_eos else ())
    for token in answer:
        changes.count(token)
    made = changes.made(logits, history)
    expected = changed(logits, history, answer, values, ENDS)
    assert np.allclose(made, expected, rtol=0, atol=1e-5)
    assert (logits == before).all()


@pytest.mark.parametrize(
    "values",
    [
        sampling(repeat_penalty=1.3),
        sampling(repeat_penalty=1.3, repeat_last_n=3),
        sampling(repeat_penalty=1.3, repeat_last_n=-1),
        sampling(repeat_penalty=1.3, repeat_last_n=0),
        sampling(presence_penalty=0.7),
        sampling(frequency_penalty=-0.3),
        sampling(logit_bias={3: 1.5, 199: -99.9, 4: -100.0}),
        sampling(ignore_eos=True),
        sampling(ignore_eos=True, logit_bias={2: 100.0}, repeat_penalty=1.2),
        sampling(repeat_penalty=0.9, presence_penalty=1.5, frequency_penalty=0.4),
    ],
    ids=repr,
)
def test_changes_are_those_of_the_reference(values: Parameters) -> None:
    history = np.random.default_rng(3).integers(0, 200, 150).tolist()
    check(values, history, history[-100:], 2)


tokens = st.lists(st.integers(0, 199), max_size=100)


@given(
    values=st.builds(
        sampling,
        repeat_penalty=st.floats(0.5, 2),
        repeat_last_n=st.integers(-1, 80),
        presence_penalty=st.floats(-2, 2),
        frequency_penalty=st.floats(-2, 2),
        logit_bias=st.dictionaries(st.integers(0, 199), st.floats(-100, 100), max_size=5),
        ignore_eos=st.booleans(),
    ),
    history=tokens,
    answer=tokens,
    seed=st.integers(0, 5),
)
def test_any_changes(values: Parameters, history: list[int], answer: list[int], seed: int) -> None:
    check(values, history, answer, seed)


def test_where_nothing_changes_nothing_is_copied() -> None:
    logits = logits_of("flat", 50, 0)
    changes = Changes(sampling())
    changes.count(3)
    assert changes.made(logits, [1, 2]) is logits


def test_a_history_that_grows_is_looked_at_to_its_end() -> None:
    logits = logits_of("flat", 500, 0)
    changes = Changes(sampling(repeat_penalty=2.0, repeat_last_n=-1))
    for size in (0, 1, 2, 4, 300, 301, 2000):
        history = [id % 400 for id in range(size)]
        expected = changed(logits, history, [], sampling(repeat_penalty=2.0, repeat_last_n=-1))
        assert (changes.made(logits, history) == expected).all()


@pytest.mark.parametrize("token", [-1, 200, 10**9])
def test_a_bias_of_a_token_that_is_none_is_refused(token: int) -> None:
    values = sampling(logit_bias={0: 1.0, token: -100.0})
    for refuse in (
        lambda: check_bias(values.logit_bias, 200),
        lambda: Changes(values).made(logits_of("flat", 200, 0), []),
    ):
        with pytest.raises(InvalidRequest) as refused:
            refuse()
        assert (refused.value.message, refused.value.param) == (
            f"logit_bias names the token {token}; this model's are 0 to 199.",
            "$.logit_bias",
        )
    check_bias({0: 1.0, 199: -100.0}, 200)
