"""How large a model's contexts are; pure."""

from __future__ import annotations

from jan_server.errors import ModelCannotRun
from jan_server.gguf import Header

DEFAULT_CONTEXT = 4096
# Beside its tokens: the vocabulary's index and the buffers that an evaluation really touches.
CONTEXT_OVERHEAD = 48 << 20
_BYTES_OF_F16 = 2

MOST_SLOTS = 16
"""The library has room for 64 of ggml's contexts in a process: a slot takes three (weights, keys
and values, `ggml.py`'s), and one more while it evaluates. Beyond them it crashes."""


def choose_context(header: Header, asked: int | None) -> int:
    """Tokens that a context holds: what is asked for, but never more than the model knows."""
    known = header.integer("llama.context_length") or DEFAULT_CONTEXT
    if asked is None:
        return min(known, DEFAULT_CONTEXT)
    if asked < 1:
        raise ModelCannotRun(f"ctx_len is {asked}; it is a number of tokens.")
    return min(known, asked)


def context_bytes(header: Header, context: int) -> int:
    """What one context takes when it is full: a key and a value for each token and layer."""
    width = header.integer("llama.embedding_length") or 0
    heads = header.integer("llama.attention.head_count") or 1
    kv_heads = header.integer("llama.attention.head_count_kv") or heads
    layers = header.integer("llama.block_count") or 0
    kept = 2 * layers * context * (width * kv_heads // heads) * _BYTES_OF_F16
    return kept + CONTEXT_OVERHEAD
