"""The same tokens as current llama.cpp, over five hundred strings, for each cut of text."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import xllamacpp
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from jan_server.engines.ctransformers import builds, library
from jan_server.engines.ctransformers.library import NativeModel
from jan_server.engines.decoding.cuts import CUTS
from jan_server.engines.decoding.tokenizer import make_encoder
from jan_server.engines.decoding.vocabulary import detokenize, read_vocabulary
from jan_server.gguf import read_header
from tests.corpus import CORPUS
from tests.tiny_gguf import write_tiny_gguf

CONTROL = re.compile(r"<\|(?:im_start|im_end|endoftext)\|>")

EncodeAll = Callable[[Sequence[str]], list[list[int]]]

BETWEEN = 10**9
"""The id of no token."""


@contextmanager
def llama_cpp(path: Path) -> Iterator[EncodeAll]:
    """Texts -> ids of each by llama.cpp's own server, control tokens as single ones."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.port, params.warmup, params.verbosity = 64, 0, False, -1
    server = xllamacpp.Server(params)
    with httpx2.Client(base_url=server.listening_address) as client:

        def encode_all(texts: Sequence[str]) -> list[list[int]]:
            # Of a list it tokenises each text by itself, and hands on the ids between them.
            mixed = [part for text in texts for part in (text, BETWEEN)]
            body = {"content": mixed, "add_special": False, "parse_special": True}
            tokens = iter(client.post("/tokenize", json=body).json()["tokens"])
            return [[*iter(lambda: next(tokens), BETWEEN)] for _ in texts]

        yield encode_all
    del server


def no_native(text: bytes) -> list[int]:
    raise AssertionError("a BPE text is not the library's to tokenise")


@pytest.fixture(scope="module")
def merges() -> list[tuple[str, str]]:
    """Merges that go across every place where text could be cut: so a cut shows in the tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=6000,
        min_frequency=1,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(
        (part for text in CORPUS for part in CONTROL.split(text)), trainer
    )
    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]


def is_composed(text: str) -> bool:
    return unicodedata.is_normalized("NFC", text)


# Where llama.cpp does what the published tokenizer does; see cuts.py.
AGREES: dict[str, Callable[[str], bool]] = {
    "qwen2": is_composed,
    "gpt-4o": str.isascii,
    "tekken": str.isascii,
}


@pytest.mark.parametrize("name", CUTS)
def test_each_cut_gives_the_tokens_of_llama_cpp(
    tmp_path: Path, merges: list[tuple[str, str]], name: str
) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf", pre=name, merges=merges)
    encoder = make_encoder(read_vocabulary(read_header(path)), no_native)
    texts = [*filter(AGREES.get(name, lambda _: True), CORPUS)]
    with llama_cpp(path) as encode_all:
        assert [encoder.encode(text) for text in texts] == encode_all(texts)


@pytest.mark.parametrize("add_space", [True, False])
def test_sentencepiece_gives_the_tokens_of_llama_cpp(tmp_path: Path, add_space: bool) -> None:
    extra = {"tokenizer.ggml.add_space_prefix": add_space}
    path = write_tiny_gguf(
        tmp_path / "model.gguf", vocabulary="spm", tied=False, extra_metadata=extra
    )
    vocabulary = read_vocabulary(read_header(path))
    loaded = library.open_library(builds.find_build(0))
    native = NativeModel(loaded, path, context_length=64, gpu_layers=0)
    encoder = make_encoder(vocabulary, native.tokenize)
    found = [encoder.encode(text) for text in CORPUS]
    native.close()
    with llama_cpp(path) as encode_all:
        assert found == encode_all(CORPUS)
    spaces = [text.replace("▁", " ") for text in CORPUS]  # both are the same to SentencePiece
    assert [detokenize(vocabulary, ids) for ids in found] == spaces


@pytest.mark.model
def test_smollm2_gives_the_tokens_of_llama_cpp(smollm2_path: Path) -> None:
    vocabulary = read_vocabulary(read_header(smollm2_path))
    encoder = make_encoder(vocabulary, no_native)
    found = [encoder.encode(text) for text in CORPUS]
    with llama_cpp(smollm2_path) as encode_all:
        assert found == encode_all(CORPUS)
