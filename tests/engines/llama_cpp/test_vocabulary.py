from __future__ import annotations

from collections.abc import Callable

import pytest

from jan_server.engines.decoding.vocabulary import read_vocabulary as as_the_file_says
from jan_server.engines.llama_cpp import vocabulary
from jan_server.engines.llama_cpp.native import NativeModel
from jan_server.engines.llama_cpp.vocabulary import NativeEncoder, read_vocabulary
from jan_server.gguf import read_header
from tests.corpus import CORPUS

KINDS = ["qwen2 bpe", "llama spm"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_is_the_one_of_the_file(native: Callable[[str], NativeModel], tiny, kind: str):
    """Two readers agree: llama.cpp, and our own of the file."""
    header = read_header(tiny(kind))
    ours, theirs = as_the_file_says(header), read_vocabulary(native(kind), header)
    assert theirs.spellings == ours.spellings
    every = range(len(ours.tokens))
    assert [theirs.piece(token) for token in every] == [ours.piece(token) for token in every]
    for field in ("special", "bos", "eos", "add_bos", "add_space_prefix", "ends"):
        assert getattr(theirs, field) == getattr(ours, field), field


def test_a_token_may_be_longer_than_what_most_need(
    native: Callable[[str], NativeModel], tiny, monkeypatch: pytest.MonkeyPatch
):
    header, model = read_header(tiny("qwen2 bpe")), native("qwen2 bpe")
    whole = read_vocabulary(model, header)
    monkeypatch.setattr(vocabulary, "_LONGEST_PIECE", 2)
    assert read_vocabulary(model, header) == whole


def test_every_text_becomes_tokens_that_spell_it(native: Callable[[str], NativeModel], tiny):
    model = native("qwen2 bpe")
    tokens = read_vocabulary(model, read_header(tiny("qwen2 bpe")))
    encoder = NativeEncoder(model)
    for text in CORPUS:
        spelled = b"".join(map(tokens.spelled, encoder.encode(text)))
        assert spelled.decode() == text


def test_control_tokens_in_a_text_are_single_ones(native: Callable[[str], NativeModel]):
    encoder = NativeEncoder(native("qwen2 bpe"))
    assert encoder.encode("<|im_start|><|im_end|>") == [1, 2]
    assert encoder.encode("") == []
