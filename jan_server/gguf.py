"""The header of a GGUF file -> `Header`, before any native code sees the file.

llama.cpp of 2023 trusts what a header says: a false length makes it allocate 10^13 MB, a file that
was cut short loads and is a segfault at the first token. So everything the header claims is checked
here against the file's real length, in plain Python, in bounded time and memory: whatever the
bytes are, the result is a `Header` or `ModelCannotRun` with the reason, within 64 MiB. So arrays
stay packed as they are in the file until somebody asks for their items: a vocabulary of 262,144
tokens and 580,604 merges is 16 MB in the file, and would be 60 MB of Python's objects.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).

The file is read, not mapped: a file that is cut while it is read is an error here, where a mapping
would be a SIGBUS. What is not promised: that the tensors hold sensible numbers, or that an engine
knows the architecture (`engines/ctransformers/fitting.py` decides that).
"""

from __future__ import annotations

import contextlib
import re
import stat
import struct
from collections.abc import Iterator, Sequence
from math import prod
from os import PathLike
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn, overload

import msgspec

from jan_server.errors import ModelCannotRun

# The largest known vocabularies have 262,144 tokens and 580,604 merges, in 16 MB of header; models
# have up to 1,100 tensors, and templates of 100 KB. A text takes four bytes for one of the file
# when a single character of it is an emoji.
MAX_HEADER_BYTES = 24 << 20
MAX_KEYS = 4096
MAX_KEY_BYTES = 256
MAX_TENSORS = 16_384
MAX_DIMENSIONS = 4
MAX_STRING_BYTES = 1 << 20
MAX_TEXT_BYTES = 2 << 20
MAX_ARRAY_ITEMS = 1 << 20
MAX_ITEMS = 3 << 20
MAX_ALIGNMENT = 1 << 20
MAX_TEXT_SHOWN = 60
MAX_PARTS = 1000
WINDOW = 1 << 20

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
LENGTH = struct.Struct("<Q")

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


class Strings(Sequence[bytes]):
    """The strings of an array, undecoded, as the file has them: each after its length.

    To ask for one means to walk to it; whoever needs many makes a list of it.
    """

    __slots__ = ("_count", "_packed")

    def __init__(self, packed: bytes | bytearray, count: int) -> None:
        self._packed = packed
        self._count = count

    def __repr__(self) -> str:
        return f"<Strings {len(self)}>"

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        packed, length_at = memoryview(self._packed), LENGTH.unpack_from
        position = 0
        for _ in range(self._count):
            start = position + LENGTH.size
            position = start + length_at(packed, position)[0]
            yield bytes(packed[start:position])

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        return list(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


class Numbers(Sequence[int | float]):
    """The numbers of an array, packed as `code`, one of struct's, says."""

    __slots__ = ("_code", "_packed")

    def __init__(self, packed: bytes, code: str) -> None:
        self._packed = packed
        self._code = code

    def __repr__(self) -> str:
        shown = ", ".join(map(str, self[:8]))
        return f"[{shown}{', ...' if len(self) > 8 else ''}]"

    def __len__(self) -> int:
        return len(self._packed) // struct.calcsize(f"<{self._code}")

    def __iter__(self) -> Iterator[int | float]:
        return (item for (item,) in struct.iter_unpack(f"<{self._code}", self._packed))

    @overload
    def __getitem__(self, index: int) -> int | float: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[int | float, ...]: ...
    def __getitem__(self, index: int | slice) -> int | float | tuple[int | float, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        one = struct.Struct(f"<{self._code}")
        number: int | float = one.unpack_from(self._packed, range(len(self))[index] * one.size)[0]
        return number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]


Value = int | float | bool | str | Strings | Numbers

_PART = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)


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

    `array_types` has the value type of the items of an array, as in `NUMBERS`. `name` is the
    file's, for messages.
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

    def strings(self, key: str) -> Strings | None:
        """The strings under `key`; None where there is no array of strings."""
        value = self.metadata.get(key)
        return value if isinstance(value, Strings) else None

    def numbers(self, key: str) -> Numbers | None:
        """The numbers under `key`; None where there is no array of numbers."""
        value = self.metadata.get(key)
        return value if isinstance(value, Numbers) else None


def parts_of(path: Path) -> tuple[Path, ...]:
    """All files of the split model that a file is a part of; none for one that is whole.

    Named as llama-gguf-split names them: `<name>-00001-of-00003.gguf`. The first is loaded.
    """
    found = _PART.fullmatch(path.name)
    if found is None or not 0 < int(found["count"]) <= MAX_PARTS:
        return ()
    name, count, suffix = found["name"], found["count"], path.suffix
    numbers = range(1, int(count) + 1)
    return tuple(path.with_name(f"{name}-{number:05}-of-{count}{suffix}") for number in numbers)


def is_later_part(name: str) -> bool:
    """Whether a file of that name is a part of a split model, and not the first."""
    found = _PART.fullmatch(name)
    return found is not None and int(found["number"]) != 1


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
    """A position in the file; reads on as it is needed, and never beyond the file or the cap.

    `_window` is the part of the file that was read last, and `_start` where in the file it begins.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._window = b""
        self._start = 0
        self.size = size
        self.position = 0
        self.items_left = MAX_ITEMS
        self.text_left = MAX_TEXT_BYTES
        self.array_types: dict[str, int] = {}

    def require(self, count: int) -> None:
        """See to it that `count` bytes from here are in the window."""
        end = self.position + count
        if end > self.size:
            self.cut_short(f"it has {self.size:,} bytes, and its header needs {end:,} or more")
        if end > MAX_HEADER_BYTES:
            raise _Broken(f"damaged: its header is longer than {MAX_HEADER_BYTES >> 20} MB")
        while (filled := self._start + len(self._window)) < end:
            more = self._file.read(max(end - filled, WINDOW))
            if not more:  # Race: another program cut the file after we took its size.
                self.cut_short(f"it ended at byte {filled:,} while it was read")
            self._window = self._window[self.position - self._start :] + more
            self._start = self.position

    def cut_short(self, detail: str) -> NoReturn:
        raise _Broken(f"cut short or damaged: {detail}; get the file again")

    def take(self, count: int) -> bytes:
        self.require(count)
        start = self.position - self._start
        self.position += count
        return self._window[start : start + count]

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

    def strings(self, count: int) -> Strings:
        """`string` in a loop, written out: two such arrays hold nearly all of a header."""
        packed = bytearray()
        left = count
        while left:
            # 1. Those that lie whole in the window: only their lengths are looked at. (One that is
            # too long and yet in the window is let through: it does no harm.)
            first = self.position - self._start
            passed, place = _skipped(self._window, first, left)
            packed += memoryview(self._window)[first:place]
            self.position += place - first
            left -= passed
            # 2. The one that does not, which brings the next window.
            if left:
                text = self.string(MAX_STRING_BYTES, "a string in an array")
                packed += LENGTH.pack(len(text)) + text
                left -= 1
        return Strings(packed, count)


def _skipped(window: bytes, place: int, most: int) -> tuple[int, int]:
    """How many strings from there on lie whole in the window, and where the last of them ends.

    Nine tenths of the time that a header takes: a vocabulary is 400,000 turns of this.
    """
    length_at, size, passed = LENGTH.unpack_from, len(window), 0
    with contextlib.suppress(struct.error):  # Not even its length is in the window.
        for passed in range(most):
            end = place + 8 + length_at(window, place)[0]
            if end > size:
                return passed, place
            place = end
        return most, place
    return passed, place


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
        text = cursor.string(MAX_STRING_BYTES, key)
        cursor.text_left -= len(text)
        if cursor.text_left < 0:
            raise _Broken(f"damaged: its texts have more than {MAX_TEXT_BYTES >> 20} MB together")
        return text.decode(errors="replace")
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
    return Numbers(cursor.take(count * smallest), NUMBERS[kind])


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
