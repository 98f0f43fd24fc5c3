"""Makes tiny GGUF files with fixed random weights: real models, no sense.

Three architectures: `llama`; `qwen2`, which is llama with biases; `mamba`, whose memory is one
state for each layer. By any other name the tensors are llama's, for engines to refuse.

Both vocabulary kinds of the world: `spm` (SentencePiece: scores, byte tokens, `▁` for a space) and
`bpe` (GPT-2's byte alphabet and merges). The same arguments always give the same bytes. About
300 KB each; ctransformers loads them in a few milliseconds, after fitting where it needs it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gguf import GGUFWriter, TokenType

from jan_server.gguf import Numbers, Strings

WIDTH = 64
HEADS = 4
KV_HEADS = 2
LAYERS = 2
FEED_FORWARD = 96
# Of mamba.
STATE = 16
STATE_STEPS = 4
STEP_RANK = 4

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

TEXT = (
    "the of and to in is that it was for on are with as his they at be this have from or one had "
    "by word but not what all were we when your can said there use an each which she do how their "
    "if will up other about out many then them these so some her would make like him into time has "
    "look two more write go see number no way could people my than first water been call who oil "
    "its now find long down day did get come made may part capital France Paris Hello world"
)
WORDS = TEXT.split()


def write_tiny_gguf(
    path: Path,
    *,
    vocabulary: Literal["bpe", "spm"] = "bpe",
    tied: bool = True,
    context_length: int = 256,
    chat_template: str | None = CHATML,
    architecture: str = "llama",
    pre: str = "smollm",
    merges: Sequence[tuple[str, str]] | None = None,
    control: Sequence[str] = (),
    add_bos: bool = False,
    seed: int = 0,
    extra_tensors: dict[str, tuple[int, ...]] | None = None,
    extra_metadata: dict[str, Any] | None = None,
    split: int = 0,
) -> Path:
    """Write the file and return its path.

    With `split`, at most so many tensors a file: then several are written beside `path`, which is
    none of them, as `<name>-00001-of-00002.gguf` and so on.

    `merges` (in GPT-2's alphabet) are for `bpe`: without them, one for each beginning of a word;
    and so are `control`, texts of more control tokens.
    `extra_tensors` (name -> NumPy shape) and `extra_metadata` (key -> int, float, str or bool) are
    for files that an engine has to refuse.
    """
    writer = GGUFWriter(path, architecture, split_max_tensors=split)
    _add_dimensions(writer, context_length)
    if architecture == "mamba":
        _add_state_dimensions(writer)
    tokens = _add_spm(writer) if vocabulary == "spm" else _add_bpe(writer, pre, merges, control)
    writer.add_add_bos_token(add_bos)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    for key, value in (extra_metadata or {}).items():
        _ADD[type(value)](writer, key, value)
    shapes = _shapes(architecture, tokens, tied=tied) | (extra_tensors or {})
    _add_tensors(writer, shapes, seed=seed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


_ADD: dict[type, Any] = {
    bool: GGUFWriter.add_bool,
    int: GGUFWriter.add_uint32,
    float: GGUFWriter.add_float32,
    str: GGUFWriter.add_string,
}


def _add_dimensions(writer: GGUFWriter, context_length: int) -> None:
    writer.add_name("Tiny")
    writer.add_context_length(context_length)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)


def _add_spm(writer: GGUFWriter) -> int:
    """Control tokens, 256 byte tokens, then pieces with a score that falls with their length.

    As SentencePiece's merging needs it, every beginning of a word is a piece of its own.
    """
    pieces = [("<unk>", TokenType.UNKNOWN), ("<s>", TokenType.CONTROL), ("</s>", TokenType.CONTROL)]
    pieces += [(f"<0x{byte:02X}>", TokenType.BYTE) for byte in range(256)]
    beginnings = {f"▁{word}"[:end]: None for word in WORDS for end in range(2, len(word) + 2)}
    singles = {character: None for word in WORDS for character in f"▁{word}"}
    pieces += [(piece, TokenType.NORMAL) for piece in [*beginnings, *singles]]
    pieces += [("<|im_start|>", TokenType.CONTROL), ("<|im_end|>", TokenType.CONTROL)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in pieces])
    writer.add_token_scores([-float(number) for number in range(len(pieces))])
    writer.add_token_types([kind for _, kind in pieces])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    return len(pieces)


def _add_bpe(
    writer: GGUFWriter,
    pre: str,
    merges: Sequence[tuple[str, str]] | None,
    more_control: Sequence[str],
) -> int:
    """Control tokens, GPT-2's 256 letters for bytes, then one token for each text merged."""
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = [*byte_alphabet().values()]
    merges = merges or _beginnings_of_words()
    tokens = control + letters + list(dict.fromkeys(left + right for left, right in merges))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    kinds = [TokenType.CONTROL] * len(control) + [TokenType.NORMAL] * (len(tokens) - len(control))
    tokens += more_control
    kinds += [TokenType.CONTROL] * len(more_control)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    return len(tokens)


def _beginnings_of_words() -> list[tuple[str, str]]:
    words = (f"Ġ{word}" for word in WORDS)
    return list(
        dict.fromkeys((word[:end], word[end]) for word in words for end in range(1, len(word)))
    )


def byte_alphabet() -> dict[int, str]:
    """GPT-2's `bytes_to_unicode`: every byte as one printable character."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {
        byte: chr(256 + number) for number, byte in enumerate(others)
    }


def _add_state_dimensions(writer: GGUFWriter) -> None:
    writer.add_ssm_conv_kernel(STATE_STEPS)
    writer.add_ssm_inner_size(2 * WIDTH)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(STEP_RANK)


def _add_tensors(writer: GGUFWriter, shapes: dict[str, tuple[int, ...]], *, seed: int) -> None:
    random = np.random.default_rng(seed)
    for name, shape in shapes.items():
        if name.endswith("ssm_a"):
            data = -np.ones(shape, np.float32)
        elif len(shape) == 1 and not name.endswith(".bias"):
            data = np.ones(shape, np.float32)
        else:
            data = random.normal(0, 3 / WIDTH**0.5, shape).astype(np.float32)
        if len(shape) == 2 and "attn" in name:
            data = data.astype(np.float16)
        writer.add_tensor(name, data)


KV_WIDTH = WIDTH // HEADS * KV_HEADS
LLAMA = {
    "attn_norm.weight": (WIDTH,),
    "attn_q.weight": (WIDTH, WIDTH),
    "attn_k.weight": (KV_WIDTH, WIDTH),
    "attn_v.weight": (KV_WIDTH, WIDTH),
    "attn_output.weight": (WIDTH, WIDTH),
    "ffn_norm.weight": (WIDTH,),
    "ffn_gate.weight": (FEED_FORWARD, WIDTH),
    "ffn_up.weight": (FEED_FORWARD, WIDTH),
    "ffn_down.weight": (WIDTH, FEED_FORWARD),
}
LAYER: dict[str, dict[str, tuple[int, ...]]] = {
    "qwen2": LLAMA
    | {"attn_q.bias": (WIDTH,), "attn_k.bias": (KV_WIDTH,), "attn_v.bias": (KV_WIDTH,)},
    "mamba": {
        "attn_norm.weight": (WIDTH,),
        "ssm_in.weight": (4 * WIDTH, WIDTH),
        "ssm_conv1d.weight": (2 * WIDTH, STATE_STEPS),
        "ssm_conv1d.bias": (2 * WIDTH,),
        "ssm_x.weight": (STEP_RANK + 2 * STATE, 2 * WIDTH),
        "ssm_dt.weight": (2 * WIDTH, STEP_RANK),
        "ssm_dt.bias": (2 * WIDTH,),
        "ssm_a": (2 * WIDTH, STATE),
        "ssm_d": (2 * WIDTH,),
        "ssm_out.weight": (WIDTH, 2 * WIDTH),
    },
}


def _shapes(architecture: str, tokens: int, *, tied: bool) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (tokens, WIDTH)}
    for layer in range(LAYERS):
        of_layer = LAYER.get(architecture, LLAMA)
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in of_layer.items()}
    shapes["output_norm.weight"] = (WIDTH,)
    return shapes if tied else shapes | {"output.weight": (tokens, WIDTH)}


def packed(value: Any) -> Any:
    """A list of bytes, or a tuple of numbers, as a header has it; all else as it is."""
    if isinstance(value, list):
        lengths = (struct.pack("<Q", len(item)) + item for item in value)
        return Strings(b"".join(lengths), len(value))
    if isinstance(value, tuple):
        code = "d" if any(isinstance(item, float) for item in value) else "q"
        return Numbers(struct.pack(f"<{len(value)}{code}", *value), code)
    return value
