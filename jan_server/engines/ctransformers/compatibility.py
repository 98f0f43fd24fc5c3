"""Which GGUF files ctransformers' llama.cpp of 2023 can run; pure.

Decided from the header alone, by what is known to work: the library answers what it does not know
with a segfault, or worse, with a model that talks nonsense. So every metadata key that changes the
arithmetic, every tensor's name, shape and type, and the vocabulary must be among the known; all
else is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from jan_server.engines.ctransformers.builds import OTHER_ENGINE, find_build
from jan_server.engines.decoding.vocabulary import check_vocabulary, shown
from jan_server.errors import ModelCannotRun
from jan_server.gguf import Header

# What llama.cpp of September 2023 multiplies with; norms are F32 always.
MATRIX_TYPES = frozenset(
    {"F32", "F16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"}
)
# Keys of the architecture that the library reads, or that say nothing about the arithmetic.
READ_KEYS = frozenset(
    {
        "context_length",
        "embedding_length",
        "block_count",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.layer_norm_rms_epsilon",
        "rope.dimension_count",
        "rope.freq_base",
        "rope.scale_linear",
        "vocab_size",
        "tensor_data_layout",
    }
)


class _Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """The model's dimensions, all of them positive."""

    width: int
    layers: int
    feed_forward: int
    heads: int
    kv_heads: int
    context: int

    @property
    def head_width(self) -> int:
        return self.width // self.heads


def check(header: Header) -> None:
    """Raises ModelCannotRun with the reason and what would run the file."""
    for find_reason in CHECKS:
        reason = find_reason(header)
        if reason:
            raise ModelCannotRun(
                f"{header.name} cannot run on ctransformers: {reason}. {OTHER_ENGINE}."
            )


def check_here(header: Header) -> None:
    """`check`, on this machine. Raises ModelCannotRun."""
    find_build(gpu_layers=0)
    check(header)


def _check_kind(header: Header) -> str | None:
    architecture = header.text("general.architecture")
    if architecture != "llama":
        return f"its architecture is {shown(architecture)}, and only 'llama' is known to it"
    kind = header.text("general.type") or "model"
    if kind != "model":
        return f"it holds no whole model, but a part of the type {shown(kind)}"
    parts = header.integer("split.count") or 1
    if parts > 1:
        return f"it is one of {parts} parts of a model; merge them with llama-gguf-split"
    return None


def _check_keys(header: Header) -> str | None:
    """Whatever a key that is not known means (YaRN, experts ...): the library would ignore it."""
    harmless = {
        "rope.scaling.type": "none",
        "expert_count": 0,
        "expert_used_count": 0,
        **_usual_widths(header),
    }
    for key, value in header.metadata.items():
        name = key.removeprefix("llama.")
        if name == key or name in READ_KEYS:
            continue
        if name not in harmless or value != harmless[name]:
            return f"it needs {key} = {str(value)[:40]}"
    version = header.integer("general.quantization_version")
    if version not in (None, 2):
        return f"its numbers are packed by version {version}, and only 2 is known"
    return None


def _usual_widths(header: Header) -> dict[str, int]:
    """The width of a head, where a file says it and it is what the library computes."""
    width = header.integer("llama.embedding_length") or 0
    heads = header.integer("llama.attention.head_count") or 0
    head_width = width // heads if heads else 0
    return {"attention.key_length": head_width, "attention.value_length": head_width}


def _check_sizes(header: Header) -> str | None:
    sizes = _read_sizes(header)
    if sizes is None:
        return "its header lacks the dimensions of the model, or says them by layer"
    if sizes.width % sizes.heads or sizes.heads % sizes.kv_heads:
        return "its dimensions do not divide evenly among its heads"
    if header.metadata.get("llama.rope.dimension_count", sizes.head_width) != sizes.head_width:
        return "its positions are not encoded over the whole width of a head"
    if not isinstance(header.metadata.get("llama.attention.layer_norm_rms_epsilon"), float):
        return "its header lacks llama.attention.layer_norm_rms_epsilon"
    for key in ("rope.freq_base", "rope.scale_linear"):
        value = header.metadata.get(f"llama.{key}", 1.0)
        if not isinstance(value, float) or not 0 < value < float("inf"):
            return f"its llama.{key} is {str(value)[:40]}"
    return None


def _read_sizes(header: Header) -> _Sizes | None:
    heads = "attention.head_count"
    names = {
        "width": "embedding_length",
        "layers": "block_count",
        "feed_forward": "feed_forward_length",
        "heads": heads,
        "kv_heads": f"{heads}_kv" if f"llama.{heads}_kv" in header.metadata else heads,
        "context": "context_length",
    }
    found = {field: header.integer(f"llama.{name}") for field, name in names.items()}
    if not all(value and 0 < value < 1 << 24 for value in found.values()):
        return None
    return msgspec.convert(found, _Sizes)


def _check_tensors(header: Header) -> str | None:
    """Exactly those of llama: no biases, no `rope_freqs.weight`, no experts; in their shapes."""
    expected = dict(_expected_shapes(header))
    for name, tensor in header.tensors.items():
        if name not in expected:
            return f"it has the tensor {name}, which is unknown to it"
        if tensor.shape != expected[name]:
            return f"its tensor {name} is {tensor.shape}, not {expected[name]}"
        allowed = MATRIX_TYPES if len(tensor.shape) == 2 else {"F32"}
        if tensor.type_name not in allowed:
            return f"its tensor {name} is packed as {tensor.type_name}, which is unknown to it"
    missing = expected.keys() - header.tensors.keys() - {"output.weight"}
    if missing:
        return f"it lacks the tensor {min(missing)}"
    return None


def _expected_shapes(header: Header) -> Iterator[tuple[str, tuple[int, ...]]]:
    sizes = _read_sizes(header)
    assert sizes is not None  # _check_sizes comes first
    tokens = len(header.strings("tokenizer.ggml.tokens") or ())
    width, kv_width = sizes.width, sizes.head_width * sizes.kv_heads
    yield "token_embd.weight", (width, tokens)
    yield "output_norm.weight", (width,)
    yield "output.weight", (width, tokens)
    for layer in range(min(sizes.layers, len(header.tensors))):
        for name, shape in {
            "attn_norm": (width,),
            "attn_q": (width, width),
            "attn_k": (width, kv_width),
            "attn_v": (width, kv_width),
            "attn_output": (width, width),
            "ffn_norm": (width,),
            "ffn_gate": (width, sizes.feed_forward),
            "ffn_up": (width, sizes.feed_forward),
            "ffn_down": (sizes.feed_forward, width),
        }.items():
            yield f"blk.{layer}.{name}.weight", shape


CHECKS: tuple[Callable[[Header], str | None], ...] = (
    _check_kind,
    _check_keys,
    _check_sizes,
    check_vocabulary,
    _check_tensors,
)
