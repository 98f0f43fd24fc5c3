"""How large a context is, for every architecture; pure."""

from __future__ import annotations

from jan_server.engines.ctransformers.sizing import CONTEXT_OVERHEAD, DEFAULT_CONTEXT
from jan_server.errors import ModelCannotRun
from jan_server.gguf import Header, Numbers

_BYTES_OF_F16 = 2


def choose_context(header: Header, asked: int | None) -> int:
    """Tokens that a context holds: what is asked for, but never more than the model knows."""
    known = _largest(header, "context_length") or DEFAULT_CONTEXT
    if asked is None:
        return min(known, DEFAULT_CONTEXT)
    if asked < 1:
        raise ModelCannotRun(f"ctx_len is {asked}; it is a number of tokens.")
    return min(known, asked)


def context_bytes(header: Header, context: int) -> int:
    """What one context takes when it is full: at most a key and a value for each token and layer.

    Models that remember less in some layers (a sliding window, a recurrent state) take less.
    """
    heads = _largest(header, "attention.head_count") or 1
    kv_heads = _largest(header, "attention.head_count_kv") or heads
    usual = _largest(header, "embedding_length") // heads
    key = _largest(header, "attention.key_length") or usual
    value = _largest(header, "attention.value_length") or usual
    layers = _largest(header, "block_count")
    return layers * context * kv_heads * (key + value) * _BYTES_OF_F16 + CONTEXT_OVERHEAD


def _largest(header: Header, name: str) -> int:
    """The architecture's number of this name, of one told by layer the largest; 0 for none."""
    value = header.metadata.get(f"{header.text('general.architecture')}.{name}", 0)
    if isinstance(value, Numbers):
        return int(max(value, default=0))
    return value if isinstance(value, int) else 0
