"""The header of a GGUF file -> `Header`, before any native code sees the file.

llama.cpp of 2023 trusts what a header says: a false length makes it allocate 10^13 MB, a file that
was cut short loads and is a segfault at the first token. So everything the header claims is checked
here against the file's real length, in plain Python, in bounded time and memory: whatever the
bytes are, the result is a `Header` or `ModelCannotRun` with the reason.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).

The file is read, not mapped: a file that is cut while it is read is an error here, where a mapping
would be a SIGBUS. What is not promised: that the tensors hold sensible numbers, or that an engine
knows the architecture (`engines/ctransformers/fitting.py` decides that).
"""

from __future__ import annotations

import stat
import struct
from math import prod
from os import PathLike
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn

import msgspec

from jan_server.errors import ModelCannotRun

# The largest known vocabularies have 262,144 tokens and 580,604 merges, in 16 MB of header.
MAX_HEADER_BYTES = 128 << 20
MAX_KEYS = 4096
MAX_KEY_BYTES = 1024
MAX_TENSORS = 65_536
MAX_DIMENSIONS = 4
MAX_STRING_BYTES = 4 << 20
MAX_ARRAY_ITEMS = 1 << 20
MAX_ITEMS = 3 << 20
MAX_ALIGNMENT = 1 << 20
MAX_TEXT_SHOWN = 60

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32
SMALLEST_KEY = 8 + 1 + 4 + 1
SMALLEST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8


class GgmlType(NamedTuple):
    """How a tensor's numbers are packed: `bytes` bytes for every `elements` elements of a row."""

    name: str
    elements: int
    bytes: int


# ggml.h's enum ggml_type, with the sizes of ggml-common.h's block structs.
GGML_TYPES = {
    0: GgmlType("F32", 1, 4),
    1: GgmlType("F16", 1, 2),
    2: GgmlType("Q4_0", 32, 18),
    3: GgmlType("Q4_1", 32, 20),
    6: GgmlType("Q5_0", 32, 22),
    7: GgmlType("Q5_1", 32, 24),
    8: GgmlType("Q8_0", 32, 34),
    9: GgmlType("Q8_1", 32, 40),
    10: GgmlType("Q2_K", 256, 84),
    11: GgmlType("Q3_K", 256, 110),
    12: GgmlType("Q4_K", 256, 144),
    13: GgmlType("Q5_K", 256, 176),
    14: GgmlType("Q6_K", 256, 210),
    15: GgmlType("Q8_K", 256, 292),
    16: GgmlType("IQ2_XXS", 256, 66),
    17: GgmlType("IQ2_XS", 256, 74),
    18: GgmlType("IQ3_XXS", 256, 98),
    19: GgmlType("IQ1_S", 256, 50),
    20: GgmlType("IQ4_NL", 32, 18),
    21: GgmlType("IQ3_S", 256, 110),
    22: GgmlType("IQ2_S", 256, 82),
    23: GgmlType("IQ4_XS", 256, 136),
    24: GgmlType("I8", 1, 1),
    25: GgmlType("I16", 1, 2),
    26: GgmlType("I32", 1, 4),
    27: GgmlType("I64", 1, 8),
    28: GgmlType("F64", 1, 8),
    29: GgmlType("IQ1_M", 256, 56),
    30: GgmlType("BF16", 1, 2),
    34: GgmlType("TQ1_0", 256, 54),
    35: GgmlType("TQ2_0", 256, 66),
    39: GgmlType("MXFP4", 32, 17),
    40: GgmlType("NVFP4", 64, 36),
    41: GgmlType("Q1_0", 128, 18),
}

# The value types of the metadata: number -> struct format; 8 is a string, 9 an array.
NUMBERS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
STRING = 8
ARRAY = 9

# What people have instead of a GGUF file, by its first bytes.
OTHER_KINDS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"<!doctype html", "text of a web page, not a GGUF file"),
    (b"<html", "text of a web page, not a GGUF file"),
    (b"PK\x03\x04", "a zip archive or PyTorch checkpoint, not a GGUF file"),
    (b"\x1f\x8b", "a gzip archive, not a GGUF file"),
    (b"tjgg", "of the GGJT format from before GGUF: take a GGUF file of the model"),
    (b"fmgg", "of the GGMF format from before GGUF: take a GGUF file of the model"),
    (b"lmgg", "of the GGML format from before GGUF: take a GGUF file of the model"),
    (b"FUGG", "a big-endian GGUF file: take a little-endian one"),
)

Value = int | float | bool | str | list[bytes] | tuple[int | float, ...]


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """`shape` in GGUF's order, the row's length first; `offset` from the header's `data_offset`."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    size: int

    @property
    def type_name(self) -> str:
        return GGML_TYPES[self.type].name


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a GGUF file says of itself; every tensor lies within the file.

    In `metadata` an array of strings is a list of bytes, as they are (49k tokens need no decoding
    to be counted), an array of numbers a tuple; `array_types` has the value type of its items, as
    in `NUMBERS`. `name` is the file's, for messages.
    """

    name: str
    version: int
    metadata: dict[str, Value]
    array_types: dict[str, int]
    tensors: dict[str, Tensor]
    alignment: int
    data_offset: int
    file_size: int

    def text(self, key: str) -> str | None:
        """The string under `key`; None where there is none, or another type."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def integer(self, key: str) -> int | None:
        """The whole number under `key`; None where there is none, or another type."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def strings(self, key: str) -> list[bytes] | None:
        """The strings under `key`; None where there is no array of strings."""
        value = self.metadata.get(key)
        return value if isinstance(value, list) else None

    def numbers(self, key: str) -> tuple[int | float, ...] | None:
        """The numbers under `key`; None where there is no array of numbers."""
        value = self.metadata.get(key)
        return value if isinstance(value, tuple) else None


class _Broken(Exception):
    """Why the bytes are no whole GGUF file; `read_header` adds which file."""


def read_header(path: str | PathLike[str]) -> Header:
    """Read and check the header of the file at `path`.

    Raises ModelCannotRun, which names the file (not its folder) and says what is wrong with it.
    """
    path = Path(path)
    try:
        # Before it is opened: opening a named pipe would wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ModelCannotRun(f"{path.name} is not a file.")
        with path.open("rb", buffering=0) as file:
            return parse_header(file, name=path.name)
    except OSError as error:
        raise ModelCannotRun(f"{path.name} cannot be read: {error.strerror}.") from error


def parse_header(file: BinaryIO, *, name: str) -> Header:
    """`read_header` of an open, seekable file, from its first byte; the caller closes it."""
    size = file.seek(0, 2)
    file.seek(0)
    try:
        return _parse(_Cursor(file, size), name)
    except _Broken as broken:
        raise ModelCannotRun(f"{name} cannot be used: it is {broken}.") from broken


class _Cursor:
    """A position in the file; reads on as it is needed, and never beyond the file or the cap."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._buffer = b""
        self.size = size
        self.position = 0
        self.items_left = MAX_ITEMS
        self.array_types: dict[str, int] = {}

    def require(self, count: int) -> None:
        """See to it that `count` bytes from here are in the buffer."""
        end = self.position + count
        if end > self.size:
            self.cut_short(f"it has {self.size:,} bytes, and its header needs {end:,} or more")
        if end > MAX_HEADER_BYTES:
            raise _Broken(f"damaged: its header is longer than {MAX_HEADER_BYTES >> 20} MB")
        while len(self._buffer) < end:
            wanted = max(end - len(self._buffer), len(self._buffer), 1 << 20)
            more = self._file.read(min(wanted, MAX_HEADER_BYTES))
            if not more:  # Race: another program cut the file after we took its size.
                self.cut_short(f"it ended at byte {len(self._buffer):,} while it was read")
            self._buffer += more

    def cut_short(self, detail: str) -> NoReturn:
        raise _Broken(f"cut short or damaged: {detail}; get the file again")

    def take(self, count: int) -> bytes:
        self.require(count)
        start, self.position = self.position, self.position + count
        return self._buffer[start : self.position]

    def number(self, code: str) -> int:
        (value,) = struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))
        return int(value)

    def string(self, limit: int, what: str) -> bytes:
        length = self.number("Q")
        if length > limit:
            raise _Broken(f"damaged: {what} claims {length:,} bytes, and {limit:,} are allowed")
        return self.take(length)

    def label(self, limit: int, what: str) -> str:
        """A name in the file: printable, because it ends up in messages and logs."""
        raw = self.string(limit, what)
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            text = ""
        if not text.isprintable() or not text:
            shown = raw[:MAX_TEXT_SHOWN]
            raise _Broken(f"damaged: {what} is {shown!r}, not a name")
        return text

    def strings(self, count: int) -> list[bytes]:
        """`string` in a loop, written out: two such arrays hold nearly all of a header."""
        found: list[bytes] = []
        add, unpack = found.append, struct.Struct("<Q").unpack_from
        position, buffer = self.position, self._buffer
        filled = len(buffer)
        for _ in range(count):
            start = position + 8
            length = unpack(buffer, position)[0] if start <= filled else MAX_HEADER_BYTES
            end = start + length
            if end > filled or length > MAX_STRING_BYTES:
                self.position = position
                add(self.string(MAX_STRING_BYTES, "a string in an array"))
                position, buffer = self.position, self._buffer
                filled = len(buffer)
                continue
            add(buffer[start:end])
            position = end
        self.position = position
        return found


def _parse(cursor: _Cursor, name: str) -> Header:
    _check_magic(cursor)
    version = _read_version(cursor)
    tensor_count = _read_count(cursor, "tensors", MAX_TENSORS, SMALLEST_TENSOR)
    key_count = _read_count(cursor, "metadata keys", MAX_KEYS, SMALLEST_KEY)
    metadata = _read_metadata(cursor, key_count)
    alignment = _alignment(metadata)
    tensors = _read_tensors(cursor, tensor_count)
    data_offset = -(-cursor.position // alignment) * alignment
    for tensor in tensors.values():
        _check_place(tensor, alignment, data_offset=data_offset, file_size=cursor.size)
    return Header(
        name=name,
        version=version,
        metadata=metadata,
        array_types=cursor.array_types,
        tensors=tensors,
        alignment=alignment,
        data_offset=data_offset,
        file_size=cursor.size,
    )


def _check_magic(cursor: _Cursor) -> None:
    head = cursor.take(min(cursor.size, 512))
    cursor.position = len(MAGIC)
    if head.startswith(MAGIC):
        return
    if not head:
        raise _Broken("empty")
    for start, kind in OTHER_KINDS:
        if head.lower().startswith(start.lower()):
            raise _Broken(kind)
    if head[8:10] == b'{"':
        raise _Broken("a safetensors file: take a GGUF file of the model")
    if b"\0" not in head and head.decode(errors="replace").count("�") <= 1:
        raise _Broken("text, not a GGUF file")
    raise _Broken(f"not a GGUF file: it begins with {head[:8].hex(' ')}, which is no known format")


def _read_version(cursor: _Cursor) -> int:
    version = cursor.number("I")
    if version in (2, 3):
        return version
    if version == 1:
        raise _Broken("GGUF version 1, of August 2023: take a newer file of the model")
    if version & 0xFFFF == 0:
        raise _Broken("a big-endian GGUF file: take a little-endian one")
    raise _Broken(f"GGUF version {version}; versions 2 and 3 are known")


def _read_count(cursor: _Cursor, what: str, limit: int, smallest: int) -> int:
    count = cursor.number("Q")
    if count > limit:
        raise _Broken(f"damaged: it claims {count:,} {what}, and {limit:,} are allowed")
    if cursor.position + count * smallest > cursor.size:
        cursor.cut_short(f"{count:,} {what} cannot be in {cursor.size:,} bytes")
    return count


def _read_metadata(cursor: _Cursor, count: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    for index in range(count):
        key = cursor.label(MAX_KEY_BYTES, f"metadata key {index + 1}")
        if key in metadata:
            raise _Broken(f"damaged: it has the metadata key {key!r} twice")
        metadata[key] = _read_value(cursor, cursor.number("I"), key)
    return metadata


def _read_value(cursor: _Cursor, kind: int, key: str) -> Value:
    if kind == STRING:
        return cursor.string(MAX_STRING_BYTES, key).decode(errors="replace")
    if kind == ARRAY:
        return _read_array(cursor, key)
    code = _number_code(kind, key)
    value: int | float = struct.unpack(f"<{code}", cursor.take(struct.calcsize(f"<{code}")))[0]
    return value


def _read_array(cursor: _Cursor, key: str) -> Value:
    kind = cursor.number("I")
    if kind == ARRAY:  # The format allows it; no reader and no known file does.
        raise _Broken(f"damaged: {key} is an array of arrays")
    smallest = 8 if kind == STRING else struct.calcsize("<" + _number_code(kind, key))
    count = _read_count(cursor, f"items of {key}", MAX_ARRAY_ITEMS, smallest)
    cursor.items_left -= count
    if cursor.items_left < 0:
        raise _Broken(f"damaged: its arrays have more than {MAX_ITEMS:,} items together")
    cursor.array_types[key] = kind
    if kind == STRING:
        return cursor.strings(count)
    values: tuple[int | float, ...] = struct.unpack(
        f"<{count}{NUMBERS[kind]}", cursor.take(count * smallest)
    )
    return values


def _number_code(kind: int, key: str) -> str:
    if kind not in NUMBERS:
        raise _Broken(f"damaged: {key} is of the unknown value type {kind}")
    return NUMBERS[kind]


def _alignment(metadata: dict[str, Value]) -> int:
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if type(value) is not int or not 1 <= value <= MAX_ALIGNMENT or value & (value - 1):
        raise _Broken(f"damaged: general.alignment is {str(value)[:20]}, not a power of two")
    return value


def _read_tensors(cursor: _Cursor, count: int) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for index in range(count):
        name = cursor.label(MAX_KEY_BYTES, f"the name of tensor {index + 1}")
        if name in tensors:
            raise _Broken(f"damaged: it has the tensor {name!r} twice")
        tensors[name] = _read_tensor(cursor, name)
    return tensors


def _read_tensor(cursor: _Cursor, name: str) -> Tensor:
    dimensions = cursor.number("I")
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise _Broken(f"damaged: the tensor {name} has {dimensions:,} dimensions")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))
    kind, offset = cursor.number("I"), cursor.number("Q")
    if kind not in GGML_TYPES:
        raise _Broken(f"damaged, or too new: the tensor {name} is of the unknown type {kind}")
    packing = GGML_TYPES[kind]
    if not all(shape) or shape[0] % packing.elements:
        raise _Broken(f"damaged: the tensor {name} of shape {shape} cannot be {packing.name}")
    size = prod(shape) // packing.elements * packing.bytes
    return Tensor(name=name, shape=shape, type=kind, offset=offset, size=size)


def _check_place(tensor: Tensor, alignment: int, *, data_offset: int, file_size: int) -> None:
    if tensor.offset % alignment:
        raise _Broken(
            f"damaged: the tensor {tensor.name} is at {tensor.offset:,}, "
            f"which is not a multiple of {alignment}"
        )
    end = data_offset + tensor.offset + tensor.size
    if end > file_size:
        raise _Broken(
            f"cut short at {file_size:,} bytes: its tensor {tensor.name} goes on to byte {end:,}; "
            "get the file again"
        )
