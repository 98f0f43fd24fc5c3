"""A copy of a GGUF file that fits ctransformers' llama.cpp of 2023, where the file itself does not.

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

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from jan_server.engines.ctransformers.compatibility import READ_KEYS, check
from jan_server.engines.decoding.vocabulary import BPE, SPM, read_vocabulary
from jan_server.errors import DiskFull, ModelCannotRun
from jan_server.gguf import Header, Tensor, Value, read_header

Fitted = Value | list[bytes] | tuple[float, ...]

# Raised when a fitted copy is written differently: older ones are made again then.
FITTING_VERSION = 1
SPARE_BYTES = 64 << 20
CHUNK_BYTES = 8 << 20


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How the library gets the file: as it is, or a copy of so many bytes of tensors."""

    fitted: bool
    copy_bytes: int = 0


def plan(header: Header) -> Plan:
    """Decide; raises ModelCannotRun with the reason and what would run the file."""
    check(header)
    tied = "output.weight" not in header.tensors
    if header.text("tokenizer.ggml.model") == SPM and not tied:
        return Plan(fitted=False)
    size = sum(tensor.size + header.alignment for _, tensor in _fitted_tensors(header))
    return Plan(fitted=True, copy_bytes=size + header.data_offset)


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
        part = Path(name)
        try:
            # Held while it is written, and let go by the system when this process dies.
            fcntl.flock(handle, fcntl.LOCK_EX)
            _write_copy(source, header, part)
            if copy_name(source) != copy.name or not _is_whole(part):
                raise ModelCannotRun(f"{source.name} was changed while it was read. Try again.")
            part.replace(copy)
            _sync_folder(folder)
        finally:
            part.unlink(missing_ok=True)
            os.close(handle)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"The disk is full: no room for {copy}.") from error
        raise ModelCannotRun(f"{copy} cannot be written: {error.strerror}.") from error


def _sync_folder(folder: Path) -> None:
    """So that the new name outlives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_others(copy: Path, prefix: str) -> None:
    """The copies of an older source, and what a process that died left behind.

    Race: another process may be writing the same copy just now, or have finished it: a part that
    is locked is left, and `copy` itself is replaced, not removed.
    """
    for old in copy.parent.glob(f"{prefix}*.gguf"):
        if old != copy:
            old.unlink(missing_ok=True)
    for part in copy.parent.glob(f"{prefix}*.part"):
        # Not found: finished, and so renamed, this moment. Blocking: somebody writes it.
        with contextlib.suppress(FileNotFoundError, BlockingIOError), part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()


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
        _forget_pages(file.fileno())


def _forget_pages(fd: int) -> None:
    """Let the system read the file from the disk when it is loaded.

    What was written in pieces lies in memory in as small ones; read back it lies in large ones,
    and one token takes 2 to 8 % less of the processor (Linux 6.18, SmolLM2 135M, measured).
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # It is only advice.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


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


def fitted_metadata(header: Header) -> dict[str, Fitted]:
    """What the library reads, and nothing else; the tokens as the bytes they stand for."""
    known = {f"llama.{key}" for key in READ_KEYS} | {
        "general.quantization_version",
        "tokenizer.ggml.model",
        "tokenizer.ggml.token_type",
        "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.eos_token_id",
    }
    kept: dict[str, Fitted] = {key: value for key, value in header.metadata.items() if key in known}
    vocabulary = read_vocabulary(header)
    if vocabulary.kind == BPE:
        kept["tokenizer.ggml.tokens"] = [*map(vocabulary.spelled, range(len(vocabulary.tokens)))]
        kept["tokenizer.ggml.merges"] = vocabulary.merges[:1]
        kept["tokenizer.ggml.scores"] = (0.0,) * len(vocabulary.tokens)
    else:
        kept["tokenizer.ggml.tokens"] = vocabulary.tokens
        kept["tokenizer.ggml.scores"] = header.numbers("tokenizer.ggml.scores") or ()
    return kept
