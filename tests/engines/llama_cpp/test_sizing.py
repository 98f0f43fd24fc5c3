"""How large contexts are, by what a header says."""

from __future__ import annotations

from typing import Any

import pytest

from jan_server.engines.ctransformers.sizing import CONTEXT_OVERHEAD
from jan_server.engines.llama_cpp.sizing import choose_context, context_bytes
from jan_server.gguf import Header
from tests.tiny_gguf import packed


def header_of(**values: Any) -> Header:
    named = {f"gemma3.{name.replace('__', '.')}": value for name, value in values.items()}
    return Header(
        name="m.gguf",
        version=3,
        metadata={
            "general.architecture": "gemma3",
            **{name: packed(value) for name, value in named.items()},
        },
        array_types={},
        tensors={},
        alignment=32,
        data_offset=0,
        file_size=0,
    )


USUAL = {"block_count": 3, "embedding_length": 64, "attention__head_count": 4}


@pytest.mark.parametrize(
    ("values", "for_each_token"),
    [
        (USUAL, 3 * 4 * (16 + 16)),
        (USUAL | {"attention__head_count_kv": 2}, 3 * 2 * (16 + 16)),
        # Told layer by layer: never too little.
        (USUAL | {"attention__head_count_kv": (1, 2, 1)}, 3 * 2 * (16 + 16)),
        (USUAL | {"attention__key_length": 20, "attention__value_length": 24}, 3 * 4 * (20 + 24)),
        ({"block_count": 3}, 0),
    ],
)
def test_a_context_holds_keys_and_values_in_two_bytes(values: dict[str, Any], for_each_token: int):
    assert context_bytes(header_of(**values), 100) == 2 * 100 * for_each_token + CONTEXT_OVERHEAD


@pytest.mark.parametrize(
    ("known", "asked", "given"),
    [(8192, None, 4096), (512, None, 512), (512, 300, 300), (512, 1000, 512), ("no", 300, 300)],
)
def test_a_context_is_as_asked_and_never_more_than_the_model_knows(known, asked, given):
    assert choose_context(header_of(context_length=known), asked) == given
