"""Whatever the bytes are: a `Header`, or `ModelCannotRun` that says what is wrong and where."""

from __future__ import annotations

import io
import os
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jan_server import gguf
from jan_server.errors import ModelCannotRun
from jan_server.gguf import Header, Tensor, parse_header, read_header

from .fuzz_gguf import changed, check, corpus
from .tiny_gguf import LAYERS, packed, write_tiny_gguf


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def key(name: str, kind: int, value: bytes) -> bytes:
    return string(name) + struct.pack("<I", kind) + value


def array(kind: int, count: int, items: bytes) -> bytes:
    return struct.pack("<IQ", kind, count) + items


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return (
        string(name)
        + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        + struct.pack("<IQ", kind, offset)
    )


def whole(
    *,
    keys: tuple[bytes, ...] = (),
    tensors: tuple[bytes, ...] = (),
    version: int = 3,
    data: bytes = b"",
    alignment: int = 32,
    counts: tuple[int, int] | None = None,
) -> bytes:
    tensor_count, key_count = counts or (len(tensors), len(keys))
    head = b"GGUF" + struct.pack("<IQQ", version, tensor_count, key_count)
    head += b"".join(keys) + b"".join(tensors)
    return head + b"\0" * (-len(head) % alignment) + data


def parse(data: bytes) -> Header:
    return parse_header(io.BytesIO(data), name="model.gguf")


def refusal(data: bytes) -> str:
    with pytest.raises(ModelCannotRun) as caught:
        parse(data)
    assert caught.value.status == 422
    prefix = "model.gguf cannot be used: it is "
    assert caught.value.message.startswith(prefix)
    return caught.value.message.removeprefix(prefix)


@pytest.mark.parametrize("version", [2, 3])
def test_every_value_type_is_read(version: int) -> None:
    keys = (
        key("u8", 0, b"\xff"),
        key("i8", 1, b"\xff"),
        key("u16", 2, b"\xff\xff"),
        key("i16", 3, b"\xff\xff"),
        key("u32", 4, struct.pack("<I", 7)),
        key("i32", 5, struct.pack("<i", -7)),
        key("f32", 6, struct.pack("<f", 0.5)),
        key("yes", 7, b"\1"),
        key("text", 8, string("Grüße")),
        key("u64", 10, struct.pack("<Q", 1 << 63)),
        key("i64", 11, struct.pack("<q", -1)),
        key("f64", 12, struct.pack("<d", 0.25)),
        key("words", 9, array(8, 2, string("a") + string(b"\xff"))),
        key("numbers", 9, array(5, 2, struct.pack("<2i", 1, -1))),
        key("nothing", 9, array(8, 0, b"")),
    )
    row = tensor("x", (64, 2), 2, 0)
    assert parse(whole(keys=keys, tensors=(row,), version=version, data=bytes(72))) == Header(
        name="model.gguf",
        version=version,
        metadata={
            "u8": 255,
            "i8": -1,
            "u16": 65535,
            "i16": -1,
            "u32": 7,
            "i32": -7,
            "f32": 0.5,
            "yes": True,
            "text": "Grüße",
            "u64": 1 << 63,
            "i64": -1,
            "f64": 0.25,
            "words": packed([b"a", b"\xff"]),
            "numbers": packed((1, -1)),
            "nothing": packed([]),
        },
        array_types={"words": 8, "numbers": 5, "nothing": 8},
        tensors={"x": Tensor(name="x", shape=(64, 2), type=2, offset=0, size=72)},
        alignment=32,
        data_offset=448,
        file_size=520,
    )


def test_values_are_asked_for_by_type() -> None:
    header = parse(
        whole(
            keys=(
                key("text", 8, string("a")),
                key("number", 4, struct.pack("<I", 7)),
                key("yes", 7, b"\1"),
                key("words", 9, array(8, 1, string("a"))),
                key("numbers", 9, array(5, 1, struct.pack("<i", 1))),
            )
        )
    )
    found = {
        name: (header.text(name), header.integer(name), header.strings(name), header.numbers(name))
        for name in [*header.metadata, "missing"]
    }
    assert found == {
        "text": ("a", None, None, None),
        "number": (None, 7, None, None),
        "yes": (None, None, None, None),
        "words": (None, None, packed([b"a"]), None),
        "numbers": (None, None, None, packed((1,))),
        "missing": (None, None, None, None),
    }


def test_the_alignment_of_the_file_is_used() -> None:
    keys = (key("general.alignment", 4, struct.pack("<I", 256)),)
    data = whole(keys=keys, tensors=(tensor("x", (1,), 0, 0),), alignment=256, data=bytes(4))
    header = parse(data)
    assert (header.alignment, header.data_offset, header.file_size) == (256, 256, 260)


def test_a_real_file_is_read(tmp_path: Path) -> None:
    header = read_header(write_tiny_gguf(tmp_path / "tiny.gguf", vocabulary="bpe"))
    assert header.name == "tiny.gguf"
    assert header.text("general.architecture") == "llama"
    assert header.integer("llama.block_count") == LAYERS
    assert len(header.tensors) == 2 + 9 * LAYERS
    assert header.tensors["output_norm.weight"].type_name == "F32"
    assert (header.strings("tokenizer.ggml.tokens") or [])[1] == b"<|im_start|>"


def test_long_headers_are_read_in_windows_and_quickly(tmp_path: Path) -> None:
    words = [b"%d" % number for number in range(400_000)]
    keys = (key("words", 9, array(8, len(words), b"".join(map(string, words)))),)
    path = tmp_path / "long.gguf"
    path.write_bytes(whole(keys=keys))
    started = time.process_time()
    header = read_header(path)
    assert time.process_time() - started < 2  # 0.13 s here
    assert header.strings("words") == words


OTHER_THINGS = {
    b"": "empty",
    b"GG": "text, not a GGUF file",
    b"Hello, I am a letter.\n" * 40: "text, not a GGUF file",
    "Grüße, Grüße, ".encode() * 60: "text, not a GGUF file",
    b"version https://git-lfs.github.com/spec/v1\n": "a Git LFS pointer, not the file itself: "
    "run `git lfs pull`",
    b"<!DOCTYPE html><html>": "text of a web page, not a GGUF file",
    b"PK\x03\x04abc": "a zip archive or PyTorch checkpoint, not a GGUF file",
    b"tjgg\x01\0\0\0": "of the GGJT format from before GGUF: take a GGUF file of the model",
    b"\x10\0\0\0\0\0\0\0" + b'{"a": {}}': "a safetensors file: take a GGUF file of the model",
    b"\x9f\x00\x8eabcdef": "not a GGUF file: it begins with 9f 00 8e 61 62 63 64 65, "
    "which is no known format",
    whole(version=1): "GGUF version 1, of August 2023: take a newer file of the model",
    whole(version=4): "GGUF version 4; versions 2 and 3 are known",
    b"GGUF" + struct.pack(">IQQ", 3, 0, 0): "a big-endian GGUF file: take a little-endian one",
}


@pytest.mark.parametrize(("data", "reason"), OTHER_THINGS.items(), ids=repr)
def test_what_is_not_a_gguf_file_is_named(data: bytes, reason: str) -> None:
    assert refusal(data) == reason + "."


DAMAGED = {
    "a false tensor count": (
        whole(counts=(1 << 40, 0)),
        "damaged: it claims 1,099,511,627,776 tensors, and 16,384 are allowed",
    ),
    "more keys than bytes": (
        whole(counts=(0, 4000)),
        "cut short or damaged: 4,000 metadata keys cannot be in 32 bytes; get the file again",
    ),
    "a false string length": (
        whole(keys=(key("a", 8, struct.pack("<Q", 1 << 60)),)),
        "damaged: a claims 1,152,921,504,606,846,976 bytes, and 1,048,576 are allowed",
    ),
    "a string that goes on beyond the end": (
        whole(keys=(key("a", 8, struct.pack("<Q", 1000)),)),
        "cut short or damaged: it has 64 bytes, and its header needs 1,045 or more; "
        "get the file again",
    ),
    "a key of no text": (
        whole(keys=(key("a\nb", 0, b"\0"),)),
        r"damaged: metadata key 1 is b'a\nb', not a name",
    ),
    "a key of broken UTF-8": (
        whole(keys=(string(b"\xff") + bytes(8),)),
        r"damaged: metadata key 1 is b'\xff', not a name",
    ),
    "a key twice": (
        whole(keys=(key("a", 0, b"\0"), key("a", 0, b"\0"))),
        "damaged: it has the metadata key 'a' twice",
    ),
    "an unknown value type": (
        whole(keys=(key("a", 13, b"\0"),)),
        "damaged: a is of the unknown value type 13",
    ),
    "an array of an unknown type": (
        whole(keys=(key("a", 9, array(99, 1, b"\0")),)),
        "damaged: a is of the unknown value type 99",
    ),
    "an array of arrays": (
        whole(keys=(key("a", 9, array(9, 1, array(0, 0, b""))),)),
        "damaged: a is an array of arrays",
    ),
    "a false array length": (
        whole(keys=(key("a", 9, array(8, 1 << 50, b"")),)),
        "damaged: it claims 1,125,899,906,842,624 items of a, and 1,048,576 are allowed",
    ),
    "an array longer than the file": (
        whole(keys=(key("a", 9, array(8, 1000, b"")),)),
        "cut short or damaged: 1,000 items of a cannot be in 64 bytes; get the file again",
    ),
    "a false length in an array": (
        whole(keys=(key("a", 9, array(8, 1, struct.pack("<Q", 1 << 40))),)),
        "damaged: a string in an array claims 1,099,511,627,776 bytes, and 1,048,576 are allowed",
    ),
    "an array that is cut short": (
        whole(keys=(key("a", 9, array(8, 2, string("x" * 30) + struct.pack("<Q", 1000))),)),
        "cut short or damaged: it has 96 bytes, and its header needs 1,095 or more; "
        "get the file again",
    ),
    "an alignment of no power of two": (
        whole(keys=(key("general.alignment", 4, struct.pack("<I", 48)),)),
        "damaged: general.alignment is 48, not a power of two",
    ),
    "an alignment of nothing": (
        whole(keys=(key("general.alignment", 4, struct.pack("<I", 0)),)),
        "damaged: general.alignment is 0, not a power of two",
    ),
    "an alignment of text": (
        whole(keys=(key("general.alignment", 8, string("32")),)),
        "damaged: general.alignment is 32, not a power of two",
    ),
    "a tensor of too many dimensions": (
        whole(tensors=(tensor("x", (1,) * 5, 0, 0),)),
        "damaged: the tensor x has 5 dimensions",
    ),
    "a tensor of no dimension": (
        whole(tensors=(tensor("x", (), 0, 0) + bytes(8),)),
        "damaged: the tensor x has 0 dimensions",
    ),
    "a tensor of unknown type": (
        whole(tensors=(tensor("x", (1,), 4, 0),)),
        "damaged, or too new: the tensor x is of the unknown type 4",
    ),
    "a row of no whole blocks": (
        whole(tensors=(tensor("x", (33,), 2, 0),)),
        "damaged: the tensor x of shape (33,) cannot be Q4_0",
    ),
    "a tensor of nothing": (
        whole(tensors=(tensor("x", (1, 0), 0, 0),)),
        "damaged: the tensor x of shape (1, 0) cannot be F32",
    ),
    "a tensor twice": (
        whole(tensors=(tensor("x", (1,), 0, 0), tensor("x", (1,), 0, 0)), data=bytes(4)),
        "damaged: it has the tensor 'x' twice",
    ),
    "a tensor between two places": (
        whole(tensors=(tensor("x", (1,), 0, 4),), data=bytes(64)),
        "damaged: the tensor x is at 4, which is not a multiple of 32",
    ),
    "a size that overflows 64 bits": (
        whole(tensors=(tensor("x", (1 << 40, 1 << 40), 0, 0),)),
        "cut short at 96 bytes: its tensor x goes on to byte 4,835,703,278,458,516,698,824,800; "
        "get the file again",
    ),
    "an offset that overflows 64 bits": (
        whole(tensors=(tensor("x", (1,), 0, (1 << 64) - 32),)),
        "cut short at 64 bytes: its tensor x goes on to byte 18,446,744,073,709,551,652; "
        "get the file again",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_header_is_refused_with_the_reason(case: str) -> None:
    data, reason = DAMAGED[case]
    assert refusal(data) == reason + "."


def test_arrays_are_bounded_together() -> None:
    million = key("a", 9, array(0, 1 << 20, bytes(1 << 20)))
    keys = tuple(million.replace(b"a", letter, 1) for letter in (b"a", b"b", b"c", b"d"))
    assert refusal(whole(keys=keys)) == (
        "damaged: its arrays have more than 3,145,728 items together."
    )


def test_a_header_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "MAX_HEADER_BYTES", 1 << 20)
    assert refusal(whole(keys=(key("a", 9, array(10, 1 << 18, bytes(1 << 21))),))) == (
        "damaged: its header is longer than 1 MB."
    )


MB = 1 << 20


def vocabulary(tokens: int, merges: int) -> tuple[bytes, ...]:
    """The keys of a vocabulary, as real files have them."""
    words = b"".join(string(b"%06x" % number) for number in range(tokens))
    pairs = b"".join(string(b"%04x %05x" % (n >> 16, n)) for n in range(merges))
    return (
        key("general.architecture", 8, string("llama")),
        key("tokenizer.ggml.tokens", 9, array(8, tokens, words)),
        key("tokenizer.ggml.scores", 9, array(6, tokens, bytes(4 * tokens))),
        key("tokenizer.ggml.token_type", 9, array(5, tokens, b"\1\0\0\0" * tokens)),
        key("tokenizer.ggml.merges", 9, array(8, merges, pairs)),
        key("tokenizer.chat_template", 8, string("x" * 100_000)),
    )


def _everything(share: int) -> bytes:
    """So much of each that more would be refused, in the characters that take most memory."""
    texts = (key(f"text{n}", 8, string("😀".ljust(MB // share - 8, "x"))) for n in range(2))
    names = (key(f"{n}😀".ljust(250, "k"), 0, b"\0") for n in range(4000 // share))
    items = key("words", 9, array(8, 11, string(bytes(MB // share - 8)) * 11))
    numbers = key("numbers", 9, array(12, MB // 2 // share, bytes(4 * MB // share)))
    rows = (tensor(f"{n}😀".ljust(240, "t"), (1,) * 4, 0, 0) for n in range(16_384 // share))
    return whole(keys=(*texts, *names, items, numbers), tensors=tuple(rows), data=bytes(4))


LARGE: dict[str, Callable[[], bytes]] = {
    "a vocabulary of 128,256 tokens": lambda: whole(keys=vocabulary(128_256, 280_147)),
    "the largest known vocabulary": lambda: whole(keys=vocabulary(262_144, 580_604)),
    "as much as is allowed of everything": lambda: _everything(1),
    "small, and something of everything": lambda: _everything(512),
    "strings of nothing, as many as are allowed": lambda: whole(
        keys=tuple(key(f"a{n}", 9, array(8, MB, bytes(8 * MB))) for n in range(2))
    ),
    "an array of long strings": lambda: whole(
        keys=(key("a", 9, array(8, 23, string(bytes(MB - 8)) * 23)),)
    ),
}


@pytest.mark.parametrize("case", LARGE)
def test_a_header_takes_no_more_than_64_mib(case: str) -> None:
    file = io.BytesIO(LARGE[case]())
    tracemalloc.start()
    try:
        parse_header(file, name="large.gguf")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * MB  # 48 at most


def test_texts_are_bounded_together() -> None:
    keys = tuple(key(f"a{number}", 8, string(bytes(MB - 8))) for number in range(3))
    assert refusal(whole(keys=keys)) == "damaged: its texts have more than 2 MB together."


def test_arrays_are_sequences() -> None:
    words, numbers = packed([b"a", b"", b"ccc"]), packed((1, -2, 3))
    assert (words[1], words[-1], words[:2]) == (b"", b"ccc", [b"a", b""])
    assert (numbers[1], numbers[-1], numbers[:2]) == (-2, 3, (1, -2))
    assert (words == [b"a", b"", b"ccc"], words == 3, numbers == (1, -2, 3)) == (True, False, True)
    assert (numbers == 3, repr(words)) == (False, "<Strings 3>")
    assert repr(numbers) == "[1, -2, 3]"
    assert repr(packed(tuple(range(9)))) == "[0, 1, 2, 3, 4, 5, 6, 7, ...]"
    with pytest.raises(IndexError):
        numbers[3]


def test_a_file_of_43_bytes_that_hangs_other_readers_is_refused_at_once() -> None:
    endless = key("a", 9, array(4, 1 << 62, b"")).ljust(19, b"\0")
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + endless
    assert "4,611,686,018,427,387,904 items of a" in refusal(data[:49])
    assert "cut short" in refusal(data[:43])


def test_a_file_cut_anywhere_is_refused_by_its_length(tmp_path: Path) -> None:
    data = write_tiny_gguf(tmp_path / "tiny.gguf").read_bytes()
    last = max(parse(data).tensors.values(), key=lambda tensor: tensor.offset)
    needed = parse(data).data_offset + last.offset + last.size
    for length in [*range(5, needed, 4999), needed - 1]:
        assert "cut short" in refusal(data[:length])
    assert parse(data[:needed]).tensors == parse(data).tensors


class Shrinking(io.BytesIO):
    """A file that another program cuts after its size was taken."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size) if self.tell() == 0 else b""


def test_a_file_that_shrinks_while_it_is_read_is_refused() -> None:
    keys = (key("a", 9, array(10, 1 << 18, bytes(1 << 21))),)
    file: BinaryIO = Shrinking(whole(keys=keys))
    with pytest.raises(ModelCannotRun, match="it ended at byte 1,048,576 while it was read"):
        parse_header(file, name="x.gguf")


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    reasons = {}
    for path in (tmp_path / "gone.gguf", tmp_path, pipe):
        with pytest.raises(ModelCannotRun) as caught:
            read_header(path)
        reasons[path.name] = caught.value.message
    assert reasons == {
        "gone.gguf": "gone.gguf cannot be read: No such file or directory.",
        tmp_path.name: f"{tmp_path.name} is not a file.",
        "pipe.gguf": "pipe.gguf is not a file.",
    }


SAMPLE = whole(
    keys=(
        key("general.alignment", 4, struct.pack("<I", 32)),
        key("text", 8, string("hello")),
        key("words", 9, array(8, 3, string("a") + string("b") + string("c"))),
        key("numbers", 9, array(6, 3, bytes(12))),
    ),
    tensors=(tensor("x", (32, 2), 2, 0), tensor("y", (8,), 0, 64)),
    data=bytes(96),
)


@given(st.binary(max_size=200))
def test_random_bytes_after_the_magic_never_get_through(data: bytes) -> None:
    check(b"GGUF\x03\0\0\0" + data, measures=True)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.integers(0, len(SAMPLE) - 1), st.binary(min_size=1, max_size=8)), max_size=4
    ),
    st.integers(0, len(SAMPLE)),
)
def test_a_changed_file_never_gets_through(changes: list[tuple[int, bytes]], length: int) -> None:
    data = bytearray(SAMPLE)
    for place, new in changes:
        data[place : place + len(new)] = new
    check(bytes(data), measures=True)
    check(bytes(data[:length]), measures=False)


@settings(max_examples=300)
@given(st.randoms(use_true_random=False))
def test_the_known_bad_files_joined_and_changed_never_get_through(chance: Random) -> None:
    check(changed(corpus(), chance), measures=chance.random() < 0.2)
