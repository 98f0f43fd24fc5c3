"""How many contexts, and how large."""

from __future__ import annotations

import pytest

from jan_server.engines.ctransformers.sizing import (
    CONTEXT_OVERHEAD,
    choose_context,
    context_bytes,
)
from jan_server.errors import ModelCannotRun
from jan_server.gguf import Header, read_header
from tests.tiny_gguf import HEADS, KV_HEADS, LAYERS, WIDTH, write_tiny_gguf


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Header:
    return read_header(write_tiny_gguf(tmp_path_factory.mktemp("sizing") / "tiny.gguf"))


@pytest.mark.parametrize(("asked", "given"), [(None, 256), (64, 64), (100_000, 256)])
def test_a_context_is_as_asked_and_never_more_than_the_model_knows(
    header: Header, asked: int | None, given: int
) -> None:
    assert choose_context(header, asked) == given


def test_a_context_of_nothing_is_refused(header: Header) -> None:
    with pytest.raises(ModelCannotRun, match="ctx_len is 0"):
        choose_context(header, 0)


def test_a_context_holds_a_key_and_a_value_in_two_bytes_for_each_layer(header: Header) -> None:
    kept = 2 * LAYERS * 100 * (WIDTH // HEADS * KV_HEADS) * 2
    assert context_bytes(header, 100) == kept + CONTEXT_OVERHEAD
