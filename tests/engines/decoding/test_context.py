"""One slot: what is evaluated, what is kept, and that it comes out the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jan_server.engines.ctransformers import builds, library
from jan_server.engines.ctransformers.library import Floats, NativeModel
from jan_server.engines.decoding.context import CHUNK, Context, cut
from jan_server.engines.decoding.cores import Cores
from tests.tiny_gguf import write_tiny_gguf

PROMPT = [(number * 37) % 400 + 60 for number in range(230)]


@pytest.mark.parametrize(
    ("start", "length", "parts"),
    [
        (0, 1, [range(1)]),
        (0, 64, [range(64)]),
        (0, 66, [range(64), range(64, 66)]),
        (0, 140, [range(64), range(64, 128), range(128, 140)]),
        (0, 128, [range(64), range(64, 128)]),
        (100, 110, [range(100, 110)]),
        # What fits into one is one, over a multiple of 64 too.
        (100, 164, [range(100, 164)]),
        (100, 165, [range(100, 128), range(128, 165)]),
        (128, 129, [range(128, 129)]),
    ],
)
def test_prompts_are_cut_at_multiples_of_a_chunk(
    start: int, length: int, parts: list[range]
) -> None:
    assert cut(start, length) == parts


@given(start=st.integers(0, 300), rest=st.integers(1, 300))
def test_the_parts_are_the_whole_rest_in_order(start: int, rest: int) -> None:
    parts = cut(start, start + rest)
    assert [place for part in parts for place in part] == [*range(start, start + rest)]
    assert all(0 < len(part) <= CHUNK for part in parts)
    assert all(part.start % CHUNK == 0 for part in parts[1:])


@given(chunks=st.integers(0, 4), length=st.integers(1, 300))
def test_from_a_whole_chunk_on_the_parts_are_those_of_the_whole_prompt(
    chunks: int, length: int
) -> None:
    """Or the same seed would not be the same answer."""
    start = chunks * CHUNK
    if start < length:
        assert cut(start, length) == cut(0, length)[chunks:]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("context")
    return write_tiny_gguf(folder / "tiny.gguf", vocabulary="spm", tied=False)


@pytest.fixture
def make(path: Path) -> Iterator[Callable[[int], Context]]:
    made: list[Context] = []

    def make_one(threads: int = 1) -> Context:
        loaded = library.open_library(builds.find_build(0))
        native = NativeModel(loaded, path, context_length=256, gpu_layers=0)
        made.append(Context(native, Cores(threads)))
        return made[-1]

    yield make_one
    for context in made:
        context.close()


def logits_after(context: Context, prompt: list[int]) -> Floats:
    assert [*context.read(prompt)][-1] == len(prompt) == len(context.evaluated)
    return context.logits().copy()


def test_the_longest_common_beginning_is_kept_but_never_the_last_token(
    make: Callable[..., Context],
) -> None:
    context = make()
    assert context.reuse(PROMPT, exactly=False) == 0
    logits_after(context, PROMPT[:100])
    assert context.reuse(PROMPT[:100], exactly=False) == 99
    assert context.evaluated == PROMPT[:99]
    assert context.reuse([*PROMPT[:40], 1, 2], exactly=False) == 40
    assert context.reuse([1, 2], exactly=False) == 0
    assert repr(context) == "<Context 0 tokens evaluated, 0 in whole chunks>"


def test_exactly_only_whole_chunks_are_kept(make: Callable[..., Context]) -> None:
    context = make()
    logits_after(context, PROMPT[:200])
    assert context.whole == 192
    assert context.reuse(PROMPT[:150], exactly=True) == 128
    assert context.whole == 128
    # Read on from a place that is no chunk's beginning: what follows is not whole.
    context.forget(100)
    logits_after(context, PROMPT)
    assert context.whole == 64
    assert context.reuse(PROMPT, exactly=True) == 64


def test_what_was_read_beside_answers_and_cancels_comes_out_the_same_bit_for_bit(
    make: Callable[..., Context],
) -> None:
    alone = logits_after(make(), PROMPT)
    context = make()
    for begun in (PROMPT[:77], [*PROMPT[:130], 9, 9, 9], PROMPT[:64]):
        context.reuse(begun, exactly=False)
        logits_after(context, begun)
        context.go_on([5])
        context.go_on([6, 7, 8])
        context.reuse(PROMPT, exactly=True)
        for _ in zip(range(2), context.read(PROMPT), strict=False):
            pass  # and leave it, as a cancel does
        context.reuse(PROMPT, exactly=True)
        assert np.array_equal(logits_after(context, PROMPT), alone)


def test_the_number_of_threads_does_not_change_what_comes_out(
    make: Callable[..., Context],
) -> None:
    one, two = (logits_after(make(threads), PROMPT) for threads in (1, 2))
    assert np.array_equal(one, two)


def test_a_warm_context_holds_nothing(make: Callable[..., Context]) -> None:
    context = make()
    context.warm_up()
    assert context.evaluated == []
    assert np.array_equal(logits_after(context, PROMPT), logits_after(make(), PROMPT))


def test_what_is_evaluated_for_later_is_held_as_if_it_had_been_wanted(
    make: Callable[..., Context],
) -> None:
    alone, context = make(), make()
    logits_after(alone, PROMPT[:20])
    alone.go_on(PROMPT[20:22])
    logits_after(context, PROMPT[:20])
    context.go_on(PROMPT[20:22], with_logits=False)
    assert context.evaluated == PROMPT[:22]
    for each in (alone, context):
        each.go_on(PROMPT[22:23])
    assert np.array_equal(alone.logits(), context.logits())


def test_an_embedding_is_the_last_tokens_state(make: Callable[..., Context]) -> None:
    context = make()
    logits_after(context, PROMPT[:20])
    first = context.embedding().copy()
    assert first.shape == (64,)
    context.go_on([3])
    assert not np.array_equal(context.embedding(), first)


def test_evaluations_are_compared_with_those_behind_as_much_and_with_logits_or_without_if_awaited(
    make: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, asked = make(), []
    evaluating = context._cores.evaluating

    def watched(tokens: int, kind: object) -> object:
        asked.append((tokens, kind))
        return evaluating(tokens, kind)

    monkeypatch.setattr(context._cores, "evaluating", watched)
    logits_after(context, PROMPT[:100])
    context.go_on([5])
    context.go_on([6], with_logits=False)
    assert asked == [(64, (0, False)), (36, (7, True)), (1, (7, True)), (1, None)]
