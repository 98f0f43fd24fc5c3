"""Which files run, why others do not, and the fitted copy."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jan_server.engines.ctransformers import fitting
from jan_server.engines.ctransformers.fitting import Plan, copy_name, fit, plan
from jan_server.engines.decoding.vocabulary import read_vocabulary
from jan_server.errors import DiskFull, ModelCannotRun
from jan_server.gguf import Header, Tensor, read_header
from tests.tiny_gguf import packed, write_tiny_gguf

Change = Callable[[Header], Header]


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Header]:
    folder = tmp_path_factory.mktemp("headers")
    bpe = write_tiny_gguf(folder / "bpe.gguf")
    spm = write_tiny_gguf(folder / "spm.gguf", vocabulary="spm", tied=False)
    return {"bpe": read_header(bpe), "spm": read_header(spm)}


def key(name: str, value: Any) -> Change:
    """With that metadata; None takes it away. Arrays keep their type."""

    def change(header: Header) -> Header:
        metadata = {**header.metadata, name: packed(value)}
        if value is None:
            del metadata[name]
        return msgspec.structs.replace(header, metadata=metadata)

    return change


def array_type(name: str, kind: int) -> Change:
    return lambda header: msgspec.structs.replace(
        header, array_types={**header.array_types, name: kind}
    )


def tensor(name: str, **changes: Any) -> Change:
    """With that tensor changed, or added, or (without changes) taken away."""

    def change(header: Header) -> Header:
        tensors = dict(header.tensors)
        plain = tensors.pop(name, Tensor(name=name, shape=(64,), type=0, offset=0, size=256))
        if changes:
            tensors[name] = msgspec.structs.replace(plain, **changes)
        return msgspec.structs.replace(header, tensors=tensors)

    return change


def tokens(change: Callable[[list[bytes]], list[bytes]]) -> Change:
    def changed(header: Header) -> Header:
        found = change(list(header.strings("tokenizer.ggml.tokens") or []))
        return key("tokenizer.ggml.tokens", found)(header)

    return changed


REFUSED: list[tuple[str, Change, str]] = [
    ("bpe", key("general.architecture", "qwen2"), "its architecture is 'qwen2'"),
    ("bpe", key("general.architecture", "x" * 1000), f"is '{'x' * 40}', and"),
    ("bpe", key("general.architecture", None), "its architecture is None"),
    ("bpe", key("general.type", "adapter"), "a part of the type 'adapter'"),
    ("bpe", key("split.count", 3), "one of 3 parts of a model"),
    ("bpe", key("llama.rope.scaling.type", "yarn"), "it needs llama.rope.scaling.type = yarn"),
    ("bpe", key("llama.rope.scaling.factor", 4.0), "it needs llama.rope.scaling.factor = 4.0"),
    ("bpe", key("llama.expert_count", 8), "it needs llama.expert_count = 8"),
    ("bpe", key("llama.attention.key_length", 32), "it needs llama.attention.key_length = 32"),
    ("bpe", key("llama.something_new", True), "it needs llama.something_new = True"),
    ("bpe", key("general.quantization_version", 3), "packed by version 3"),
    ("bpe", key("llama.block_count", None), "lacks the dimensions"),
    ("bpe", key("llama.block_count", 0), "lacks the dimensions"),
    ("bpe", key("llama.attention.head_count_kv", (2, 1)), "lacks the dimensions"),
    ("bpe", key("llama.attention.head_count", 5), "do not divide evenly"),
    ("bpe", key("llama.attention.head_count_kv", 3), "do not divide evenly"),
    ("bpe", key("llama.rope.dimension_count", 8), "positions are not encoded"),
    ("bpe", key("llama.attention.layer_norm_rms_epsilon", None), "layer_norm_rms_epsilon"),
    ("bpe", key("llama.rope.freq_base", 0.0), "llama.rope.freq_base is 0.0"),
    ("bpe", key("llama.rope.scale_linear", float("nan")), "llama.rope.scale_linear is nan"),
    ("bpe", tensor("rope_freqs.weight", type=0), "the tensor rope_freqs.weight"),
    ("bpe", tensor("blk.1.ffn_up.weight"), "it lacks the tensor blk.1.ffn_up.weight"),
    ("bpe", tensor("blk.0.attn_k.weight", shape=(64, 64)), r"is (64, 64), not (64, 32)"),
    ("bpe", tensor("blk.0.attn_k.weight", type=30), "is packed as BF16"),
    ("bpe", tensor("output_norm.weight", type=1), "is packed as F16"),
    ("bpe", key("llama.block_count", 5000), "it lacks the tensor"),
    ("bpe", key("tokenizer.ggml.model", "bert"), "of the kind 'bert'"),
    ("bpe", key("tokenizer.ggml.token_type", None), "a type for every token"),
    ("bpe", key("tokenizer.ggml.token_type", (1, 1)), "a type for every token"),
    ("bpe", array_type("tokenizer.ggml.token_type", 1), "a type for every token"),
    ("bpe", tokens(lambda found: []), "a type for every token"),
    ("bpe", tokens(lambda found: [found[0], *found[:-1]]), "has a token twice"),
    ("bpe", key("tokenizer.ggml.token_type", (9,) * 491), "tokens of an unknown type"),
    ("bpe", key("llama.vocab_size", 7), "another size than its header says"),
    ("bpe", key("tokenizer.ggml.eos_token_id", 491), "eos_token_id is 491, which is no token"),
    ("bpe", key("tokenizer.ggml.pre", None), "(tokenizer.ggml.pre) is None; known are gpt-2"),
    ("bpe", key("tokenizer.ggml.pre", "command-r"), "(tokenizer.ggml.pre) is 'command-r'"),
    ("bpe", key("tokenizer.ggml.merges", None), "it has no merges"),
    ("bpe", tokens(lambda found: [*found[:-1], b"\xff"]), "is not UTF-8"),
    (
        "bpe",
        tokens(lambda found: [b"x" if token == "Ċ".encode() else token for token in found]),
        "has a token twice",
    ),
    (
        "bpe",
        tokens(lambda found: [b"xyz" if token == "Ċ".encode() else token for token in found]),
        "lacks a token for the newline",
    ),
    ("spm", key("tokenizer.ggml.scores", None), "a score for every token"),
    ("spm", key("tokenizer.ggml.scores", (0.0,)), "a score for every token"),
    ("spm", array_type("tokenizer.ggml.scores", 12), "a score for every token"),
    (
        "spm",
        tokens(lambda found: [b"xyz" if token == b"<0x07>" else token for token in found]),
        "lacks tokens for single bytes",
    ),
    ("spm", key("tokenizer.ggml.token_type", (6,) * 519), "byte tokens that name no byte"),
]


@pytest.mark.parametrize(
    ("kind", "change", "reason"), REFUSED, ids=[reason for _, _, reason in REFUSED]
)
def test_what_is_not_known_to_work_is_refused(
    headers: dict[str, Header], kind: str, change: Change, reason: str
) -> None:
    with pytest.raises(ModelCannotRun) as caught:
        plan(change(headers[kind]))
    message = caught.value.message
    assert message.startswith(f"{kind}.gguf cannot run on ctransformers: ")
    assert reason in message
    assert "llama-cpp" in message


def test_newline_tokens_are_refused_only_where_no_space_is_put_in_front(
    headers: dict[str, Header],
) -> None:
    changed = tokens(lambda found: [*found[:-1], b"\n\n"])(headers["spm"])
    assert plan(changed) == Plan(fitted=False)
    with pytest.raises(ModelCannotRun, match="tokens with newlines"):
        plan(key("tokenizer.ggml.add_space_prefix", False)(changed))


HARMLESS: list[Change] = [
    key("general.author", "somebody"),
    key("general.type", "model"),
    key("general.quantization_version", 2),
    key("quantize.imatrix.file", "x"),
    key("llama.rope.scaling.type", "none"),
    key("llama.rope.freq_base", 1e6),
    key("llama.rope.scale_linear", 2.0),
    key("llama.expert_count", 0),
    key("llama.attention.key_length", 16),
    key("llama.attention.value_length", 16),
    key("llama.vocab_size", 519),
    key("llama.rope.dimension_count", None),
    tensor("blk.0.ffn_up.weight", type=14),
]


@pytest.mark.parametrize("change", HARMLESS)
def test_what_changes_nothing_is_no_hindrance(headers: dict[str, Header], change: Change) -> None:
    assert plan(change(headers["spm"])) == Plan(fitted=False)


def test_without_a_count_of_kv_heads_there_are_as_many_as_heads(
    headers: dict[str, Header],
) -> None:
    with pytest.raises(ModelCannotRun, match=r"attn_k.weight is \(64, 32\), not \(64, 64\)"):
        plan(key("llama.attention.head_count_kv", None)(headers["spm"]))


@pytest.mark.parametrize(
    ("vocabulary", "tied", "fitted"),
    [("spm", False, False), ("spm", True, True), ("bpe", False, True), ("bpe", True, True)],
)
def test_only_what_has_to_be_is_copied(
    tmp_path: Path, vocabulary: Any, tied: bool, fitted: bool
) -> None:
    source = write_tiny_gguf(tmp_path / "m.gguf", vocabulary=vocabulary, tied=tied)
    path = fit(source, read_header(source), str(tmp_path / "fitted"))
    assert (path != source) == fitted == (tmp_path / "fitted").exists()
    assert "output.weight" in read_header(path).tensors


def data_of(path: Path, header: Header, name: str) -> bytes:
    found = header.tensors[name]
    start = header.data_offset + found.offset
    return path.read_bytes()[start : start + found.size]


def test_the_copy_has_the_tensors_as_they_are_and_tokens_as_bytes(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "m.gguf", extra_metadata={"llama.rope.freq_base": 5e5})
    header = read_header(source)
    copy = fit(source, header, str(tmp_path / "fitted"))
    copied = read_header(copy)
    for name in header.tensors:
        assert data_of(copy, copied, name) == data_of(source, header, name)
    embeddings = data_of(source, header, "token_embd.weight")
    assert data_of(copy, copied, "output.weight") == embeddings
    vocabulary = read_vocabulary(header)
    spelled = [vocabulary.spelled(token) for token in range(len(vocabulary.tokens))]
    assert copied.strings("tokenizer.ggml.tokens") == spelled
    assert b"\n" in spelled
    assert copied.numbers("tokenizer.ggml.scores") == (0.0,) * len(spelled)
    assert copied.metadata["llama.rope.freq_base"] == 5e5
    assert {key for key in copied.metadata if key.startswith("llama.")} == {
        key for key in header.metadata if key.startswith("llama.")
    }


def test_a_copy_is_made_once_and_again_when_its_source_changes(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "m.gguf")
    folder = tmp_path / "work" / "fitted"

    def made() -> tuple[str, int]:
        copy = fit(source, read_header(source), str(folder))
        assert [place.name for place in folder.iterdir()] == [copy.name]
        return copy.name, copy.stat().st_ino

    first = made()
    assert made() == first
    os.utime(source, ns=(0, 0))
    second = made()
    assert second[0] != first[0]
    write_tiny_gguf(source, seed=1)
    assert made()[0] not in (first[0], second[0])


def test_copies_of_other_models_stay(tmp_path: Path) -> None:
    names = set()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        source = write_tiny_gguf(tmp_path / folder / "m (ö).gguf")
        names.add(fit(source, read_header(source), str(tmp_path / "fitted")).name)
    assert {place.name for place in (tmp_path / "fitted").iterdir()} == names
    assert all(name.startswith("m____-") for name in names)


def test_a_copy_that_lost_its_end_is_made_again(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "m.gguf")
    copy = fit(source, read_header(source), str(tmp_path / "fitted"))
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-5000])
    assert fit(source, read_header(source), str(tmp_path / "fitted")).read_bytes() == whole


def test_what_a_process_that_died_left_is_removed_and_what_is_written_now_is_not(
    tmp_path: Path,
) -> None:
    source = write_tiny_gguf(tmp_path / "m.gguf")
    (tmp_path / "fitted").mkdir()
    prefix = copy_name(source).rpartition("-")[0]
    old, new = (tmp_path / "fitted" / f"{prefix}-{name}.part" for name in ("old", "new"))
    for part in (old, new):
        part.write_bytes(b"x")
    with new.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        copy = fit(source, read_header(source), str(tmp_path / "fitted"))
    assert {*(tmp_path / "fitted").iterdir()} == {copy, new}


def assert_nothing_left(folder: Path) -> None:
    assert not folder.exists() or [*folder.iterdir()] == []


def test_without_room_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_tiny_gguf(tmp_path / "m.gguf")
    usage = shutil.disk_usage(tmp_path)._replace(free=fitting.SPARE_BYTES + 100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DiskFull, match=r"needs 64 MB in .*fitted, and 64 MB are free"):
        fit(source, read_header(source), str(tmp_path / "fitted"))
    assert_nothing_left(tmp_path / "fitted")


@pytest.mark.parametrize(
    ("number", "kind", "reason"),
    [
        (errno.ENOSPC, DiskFull, "The disk is full"),
        (errno.EDQUOT, DiskFull, "The disk is full"),
        (errno.EIO, ModelCannotRun, "cannot be written: Input/output error"),
    ],
)
def test_a_copy_that_cannot_be_written_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[Exception],
    reason: str,
) -> None:
    def fail(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    source = write_tiny_gguf(tmp_path / "m.gguf")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind, match=reason):
        fit(source, read_header(source), str(tmp_path / "fitted"))
    assert_nothing_left(tmp_path / "fitted")


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "m.gguf")
    with pytest.raises(ModelCannotRun, match="cannot be written"):
        fit(source, read_header(source), str(source / "fitted"))
    with pytest.raises(ModelCannotRun, match="there is no folder for it"):
        fit(source, read_header(source), "")


def test_a_source_that_became_shorter_is_said(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "m.gguf")
    header = read_header(source)
    os.truncate(source, header.file_size - 1000)
    with pytest.raises(ModelCannotRun, match="became shorter while it was read"):
        fit(source, header, str(tmp_path / "fitted"))
    assert_nothing_left(tmp_path / "fitted")


def test_a_source_that_changed_while_it_was_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_tiny_gguf(tmp_path / "m.gguf")
    header = read_header(source)
    sync = os.fsync

    def sync_and_change(handle: int) -> None:
        sync(handle)
        os.utime(source, ns=(0, 0))

    monkeypatch.setattr(os, "fsync", sync_and_change)
    with pytest.raises(ModelCannotRun, match="was changed while it was read"):
        fit(source, header, str(tmp_path / "fitted"))
    assert_nothing_left(tmp_path / "fitted")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such advice")
def test_what_was_written_in_pieces_is_read_back_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync = os.fsync

    def flushed(handle: int) -> None:
        done.append("flushed")
        sync(handle)

    def refused(handle: int, start: int, length: int, advice: int) -> None:
        assert (start, length, advice) == (0, 0, os.POSIX_FADV_DONTNEED)
        done.append(Path(f"/proc/self/fd/{handle}").resolve().suffix)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "posix_fadvise", refused)
    source = write_tiny_gguf(tmp_path / "m.gguf")
    copy = fit(source, read_header(source), str(tmp_path / "fitted"))
    assert copy.is_file()
    assert done == ["flushed", ".part", "flushed"]  # The last one is of the folder.


def test_the_copies_are_the_users_alone(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "m.gguf")
    copy = fit(source, read_header(source), str(tmp_path / "fitted"))
    assert (copy.stat().st_mode & 0o777, copy.parent.stat().st_mode & 0o777) == (0o600, 0o700)
