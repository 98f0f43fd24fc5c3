"""Which GGUF files ctransformers' llama.cpp of 2023 can run, and a copy that fits it where needed.

Decided from the header alone, by what is known to work: the library answers what it does not know
with a segfault, or worse, with a model that talks nonsense. So every metadata key that changes the
arithmetic, every tensor's name, shape and type, and the vocabulary must be among the known; all
else is refused with the reason.

Known files fail in the library for three reasons, each mended by writing the file once more, the
tensors as they are:

1. a BPE vocabulary has no `tokenizer.ggml.scores`: zeros are written;
2. tied embeddings leave out `output.weight`: `token_embd.weight` is written again by that name;
3. BPE tokens are stored in GPT-2's byte alphabet, in which the loader finds no newline and
   crashes: they are written as the bytes they stand for. (Of the merges only one is written. The
   library's own BPE is not used, and reading them takes longer than all else of its start.)

A fitted copy belongs to a source of one path, size, time and fitting version: its name says so.
It appears by rename, whole and on the disk, or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from jan_server.engines.ctransformers.vocabulary import (
    BPE,
    SPM,
    check_vocabulary,
    read_vocabulary,
)
from jan_server.errors import DiskFull, ModelCannotRun
from jan_server.gguf import Header, Tensor, Value, read_header

# Raised when a fitted copy is written differently: older ones are made again then.
FITTING_VERSION = 1
SPARE_BYTES = 64 << 20
CHUNK_BYTES = 8 << 20
ABANDONED_AFTER = 3600
WINDOWS = os.name == "nt"
OTHER_ENGINE = "The optional engine `llama-cpp` (a current llama.cpp) may run it"

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


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How the library gets the file: as it is, or a copy of so many bytes of tensors."""

    fitted: bool
    copy_bytes: int = 0


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


def plan(header: Header) -> Plan:
    """Decide; raises ModelCannotRun with the reason and what would run the file."""
    for check in CHECKS:
        reason = check(header)
        if reason:
            raise ModelCannotRun(
                f"{header.name} cannot run on ctransformers: {reason}. {OTHER_ENGINE}."
            )
    tied = "output.weight" not in header.tensors
    if header.text("tokenizer.ggml.model") == SPM and not tied:
        return Plan(fitted=False)
    size = sum(tensor.size + header.alignment for _, tensor in _fitted_tensors(header))
    return Plan(fitted=True, copy_bytes=size + header.data_offset)


def _check_kind(header: Header) -> str | None:
    architecture = header.text("general.architecture")
    if architecture != "llama":
        return f"its architecture is {architecture!r}, and only 'llama' is known to it"
    kind = header.text("general.type") or "model"
    if kind != "model":
        return f"it holds no whole model, but a part of the type {kind!r}"
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


def fit(source: Path, header: Header, work_folder: str) -> Path:
    """The file for the library: `source`, or its fitted copy, made now where there is none.

    `header` is the source's. Raises ModelCannotRun, or DiskFull before anything is written.
    """
    decided = plan(header)
    if not decided.fitted:
        return source
    if not work_folder:
        raise ModelCannotRun(f"{source.name} needs a fitted copy, and there is no folder for it.")
    copy = Path(work_folder) / copy_name(source)
    if not _is_whole(copy):
        _make_copy(source, header, copy, needed=decided.copy_bytes)
    return copy


def copy_name(source: Path) -> str:
    """`<stem>-<hash of the path>-<hash of path, size, time and fitting version>.gguf`."""
    place = str(source.resolve())
    state = source.stat()
    facts = f"{place}\0{state.st_size}\0{state.st_mtime_ns}\0{FITTING_VERSION}"
    return f"{_prefix(source)}{_hash(facts)}.gguf"


def _prefix(source: Path) -> str:
    """What the copies of one source have in common."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", source.stem)[:80]
    return f"{stem}-{_hash(str(source.resolve()))}-"


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).hexdigest()


def _is_whole(copy: Path) -> bool:
    """Not trusted because it is ours: a disk can lose its end, and that is a segfault."""
    try:
        read_header(copy)
    except ModelCannotRun:
        return False
    return True


def _make_copy(source: Path, header: Header, copy: Path, *, needed: int) -> None:
    folder = copy.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_others(copy, _prefix(source))
        _check_space(folder, needed)
        handle, name = tempfile.mkstemp(prefix=f"{_prefix(source)}", suffix=".part", dir=folder)
        os.close(handle)
        part = Path(name)
        try:
            _write_copy(source, header, part)
            if copy_name(source) != copy.name or not _is_whole(part):
                raise ModelCannotRun(f"{source.name} was changed while it was read. Try again.")
            part.replace(copy)
            _sync_folder(folder)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"The disk is full: no room for {copy}.") from error
        raise ModelCannotRun(f"{copy} cannot be written: {error.strerror}.") from error


def _sync_folder(folder: Path) -> None:
    """So that the new name outlives a power cut. Windows has no way to ask for it."""
    if WINDOWS:
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_others(copy: Path, prefix: str) -> None:
    """The copies of an older source, and what a process that died left behind.

    Race: another process may be writing the same copy just now, or have finished it: parts are
    left for an hour, and `copy` itself is replaced, not removed.
    """
    for old in copy.parent.glob(f"{prefix}*.gguf"):
        if old != copy:
            old.unlink(missing_ok=True)
    for part in copy.parent.glob(f"{prefix}*.part"):
        if time.time() - part.stat().st_mtime > ABANDONED_AFTER:
            part.unlink(missing_ok=True)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise DiskFull(
            f"A fitted copy needs {(needed + SPARE_BYTES) >> 20:,} MB in {folder}, "
            f"and {free >> 20:,} MB are free."
        )


def _write_copy(source: Path, header: Header, part: Path) -> None:
    """Header by the `gguf` package, then the tensors' bytes as they are."""
    _write_header(header, part)
    with source.open("rb") as original, part.open("ab") as file:
        for _, tensor in _fitted_tensors(header):
            _pad(file)
            original.seek(header.data_offset + tensor.offset)
            _copy_bytes(original, file, tensor.size)
        _pad(file)
        file.flush()
        os.fsync(file.fileno())


def _pad(file: BinaryIO) -> None:
    file.write(b"\0" * (-file.tell() % 32))


def _copy_bytes(original: BinaryIO, file: BinaryIO, count: int) -> None:
    while count:
        chunk = original.read(min(count, CHUNK_BYTES))
        if not chunk:
            raise ModelCannotRun("The file became shorter while it was read. Try again.")
        file.write(chunk)
        count -= len(chunk)


def _fitted_tensors(header: Header) -> Iterator[tuple[str, Tensor]]:
    yield from header.tensors.items()
    if "output.weight" not in header.tensors:
        yield "output.weight", header.tensors["token_embd.weight"]


def _write_header(header: Header, part: Path) -> None:
    # Imported here: it takes 0.1 s, and a fitted model is loaded without it.
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(part, "llama")
    for key, value in fitted_metadata(header).items():
        if isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    for name, tensor in _fitted_tensors(header):
        kind = GGMLQuantizationType(tensor.type)
        shape = tensor.shape[::-1]
        # The dtype is not looked at where the type is given, unless it is uint8.
        writer.add_tensor_info(name, shape, np.dtype(np.float32), tensor.size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()


def fitted_metadata(header: Header) -> dict[str, Value]:
    """What the library reads, and nothing else; the tokens as the bytes they stand for."""
    known = {f"llama.{key}" for key in READ_KEYS} | {
        "general.quantization_version",
        "tokenizer.ggml.model",
        "tokenizer.ggml.token_type",
        "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.eos_token_id",
    }
    kept = {key: value for key, value in header.metadata.items() if key in known}
    vocabulary = read_vocabulary(header)
    if vocabulary.kind == BPE:
        kept["tokenizer.ggml.tokens"] = [*map(vocabulary.spelled, range(len(vocabulary.tokens)))]
        kept["tokenizer.ggml.merges"] = vocabulary.merges[:1]
        kept["tokenizer.ggml.scores"] = (0.0,) * len(vocabulary.tokens)
    else:
        kept["tokenizer.ggml.tokens"] = vocabulary.tokens
        kept["tokenizer.ggml.scores"] = header.numbers("tokenizer.ggml.scores") or ()
    return kept
