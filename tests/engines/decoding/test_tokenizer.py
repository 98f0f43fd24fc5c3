"""Text to ids and back, for both kinds of vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from jan_server.engines.ctransformers import builds, library
from jan_server.engines.ctransformers.library import NativeModel
from jan_server.engines.decoding.cuts import CUTS
from jan_server.engines.decoding.tokenizer import (
    BpeEncoder,
    SpmEncoder,
    make_cutter,
    make_encoder,
    with_bos,
)
from jan_server.engines.decoding.vocabulary import Vocabulary, detokenize, read_vocabulary
from jan_server.gguf import read_header
from tests.corpus import CORPUS
from tests.tiny_gguf import write_tiny_gguf

TEXTS = [
    "Hello world",
    "the time  has   come",
    "\n\n\nline\n \n x\r\n\r\n",
    "tabs\t\tand \t them",
    "don't can't I'LL",
    "12345 67.8 ١٢٣ ½ １２",
    "emoji 😀😀👩‍👩‍👧 ok",
    "Grüße aus Zürich",
    "日本語のテキスト",
    "e\u0301 \u00a0\u2003\u200b",
    "a\x00b\x00\x00",
    " ",
    "",
]


def vocabulary_of(path: Path) -> Vocabulary:
    return read_vocabulary(read_header(path))


def spell(vocabulary: Vocabulary, ids: list[int]) -> str:
    return b"".join(map(vocabulary.spelled, ids)).decode()


def bpe_with(vocabulary: Vocabulary, cut: str) -> BpeEncoder:
    return BpeEncoder(vocabulary, CUTS[cut])


def texts_of(vocabulary: Vocabulary, ids: list[int]) -> list[str]:
    return [vocabulary.text(id) for id in ids]


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return vocabulary_of(write_tiny_gguf(tmp_path_factory.mktemp("bpe") / "bpe.gguf"))


@pytest.fixture(scope="module")
def spm_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spm") / "spm.gguf"
    return write_tiny_gguf(path, vocabulary="spm", tied=False)


@pytest.fixture(scope="module")
def native(spm_path: Path) -> Iterator[Callable[[bytes], list[int]]]:
    loaded = library.open_library(builds.find_build(0))
    model = NativeModel(loaded, spm_path, context_length=64, gpu_layers=0)
    yield model.tokenize
    model.close()


@pytest.mark.parametrize("text", TEXTS)
def test_bpe_text_comes_back_as_it_was(bpe: Vocabulary, text: str) -> None:
    assert spell(bpe, bpe_with(bpe, "smollm").encode(text)) == text


@pytest.fixture(scope="module")
def bpe_encoder(bpe: Vocabulary) -> BpeEncoder:
    return bpe_with(bpe, "smollm")


@given(st.text(max_size=60))
def test_any_bpe_text_comes_back_as_it_was(
    bpe: Vocabulary, bpe_encoder: BpeEncoder, text: str
) -> None:
    assert spell(bpe, bpe_encoder.encode(text)) == text


def test_control_tokens_in_bpe_text_are_single_ids(bpe: Vocabulary) -> None:
    ids = bpe_with(bpe, "smollm").encode("<|im_start|>user\n the<|im_end|> time<|endoftext|>")
    assert texts_of(bpe, ids) == [
        *["<|im_start|>", "u", "s", "e", "r", "Ċ", "Ġthe", "<|im_end|>", "Ġtime", "<|endoftext|>"]
    ]


WORDS = "ab 12345!?\n\n x'll"
CASES = "DasIst ÉCOLEécole I'LL a/\n\n"


@pytest.mark.parametrize(
    ("cut", "text", "pieces"),
    [
        ("gpt-2", WORDS, ["ab", " 12345", "!?", "\n\n", " x", "'ll"]),
        ("gpt-2", CASES, ["DasIst", " ÉCOLEécole", " I", "'", "LL", " a", "/", "\n\n"]),
        ("smollm", WORDS, ["ab", " ", *"12345", "!?", "\n\n", " x", "'ll"]),
        ("llama-bpe", WORDS, ["ab", " ", "123", "45", "!?\n\n", " x", "'ll"]),
        ("llama-bpe", CASES, ["DasIst", " ÉCOLEécole", " I", "'LL", " a", "/\n\n"]),
        ("dbrx", WORDS, ["ab", " ", "123", "45", "!?\n\n", " x", "'ll"]),
        ("qwen2", WORDS, ["ab", " ", *"12345", "!?\n\n", " x", "'ll"]),
        ("gpt-4o", WORDS, ["ab", " ", "123", "45", "!?\n\n", " x'll"]),
        ("gpt-4o", CASES, ["Das", "Ist", " ÉCOLEécole", " I'LL", " a", "/\n\n"]),
        ("gpt-4o", "Ünö ñandú हिन्दी", ["Ünö", " ñandú", " हिन्दी"]),
        ("tekken", WORDS, ["ab", " ", *"12345", "!?\n\n", " x", "'ll"]),
        ("tekken", CASES, ["Das", "Ist", " ÉCOLEécole", " I", "'LL", " a", "/\n\n"]),
        ("tekken", "Ünö ñandú हिन्दी", ["Ünö", " ñandú", " हिन्दी"]),
        ("deepseek-llm", WORDS, ["ab", " ", "12345", "!?", "\n", "\n", " x", "'", "ll"]),
        ("deepseek-llm", "das 漢字!  ", ["das", " ", "漢字", "!", "  "]),
        ("deepseek-coder", WORDS, ["ab", " ", *"12345", "!?", "\n", "\n", " x", "'", "ll"]),
        ("deepseek-v3", WORDS, ["ab", " ", "123", "45", "!?\n\n", " x", "'ll"]),
        ("deepseek-v3", "das 漢字です", ["das", " ", "漢字です"]),
    ],
)
def test_each_cut_cuts_where_the_published_tokenizer_does(
    cut: str, text: str, pieces: list[str]
) -> None:
    found = make_cutter(CUTS[cut]).pre_tokenize_str(text)
    assert [text[start:end] for _, (start, end) in found] == pieces


@pytest.mark.parametrize(
    ("cut", "published"),
    [
        ("gpt-2", [pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        (
            "smollm",
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ],
        ),
    ],
)
def test_a_cut_is_what_the_published_file_is_made_of(
    cut: str, published: list[pre_tokenizers.PreTokenizer]
) -> None:
    reference = pre_tokenizers.Sequence(published)
    ours = make_cutter(CUTS[cut])
    assert [*map(ours.pre_tokenize_str, CORPUS)] == [*map(reference.pre_tokenize_str, CORPUS)]


def test_qwen2_composes_its_text(bpe: Vocabulary) -> None:
    composed, apart = "\u00e9 \u00c5", "e\u0301 A\u030a"
    encoder = bpe_with(bpe, "qwen2")
    assert encoder.encode(apart) == encoder.encode(composed)
    assert bpe_with(bpe, "llama-bpe").encode(apart) != encoder.encode(apart)


def test_some_take_whole_words_before_they_merge(bpe: Vocabulary) -> None:
    word = "zq"
    changed = msgspec.structs.replace(
        bpe, tokens=[*bpe.tokens, word.encode()], types=(*bpe.types, 1)
    )
    counts = {cut: len(bpe_with(changed, cut).encode(word)) for cut in CUTS}
    assert {cut for cut, count in counts.items() if count == 1} == {
        *("llama-bpe", "llama3", "llama-v3", "tekken")
    }


def test_several_threads_tokenise_at_once(bpe_encoder: BpeEncoder) -> None:
    alone = [*map(bpe_encoder.encode, CORPUS)]
    with ThreadPoolExecutor(4) as threads:
        assert [*threads.map(bpe_encoder.encode, [*CORPUS] * 4)] == alone * 4


def test_bpe_ids_are_the_text_again(bpe: Vocabulary, bpe_encoder: BpeEncoder) -> None:
    assert [detokenize(bpe, bpe_encoder.encode(text)) for text in CORPUS] == [*CORPUS]


def test_a_part_of_a_character_is_shown_as_such(bpe: Vocabulary) -> None:
    assert detokenize(bpe, [bpe.tokens.index("ð".encode())]) == "\ufffd"


@pytest.mark.parametrize("text", TEXTS)
def test_spm_text_comes_back_with_a_space_in_front(
    spm_path: Path, native: Callable[[bytes], list[int]], text: str
) -> None:
    vocabulary = vocabulary_of(spm_path)
    ids = make_encoder(vocabulary, native).encode(text)
    assert spell(vocabulary, ids) == (" " + text if text else "")


def test_control_tokens_in_spm_text_are_single_ids(
    spm_path: Path, native: Callable[[bytes], list[int]]
) -> None:
    vocabulary = vocabulary_of(spm_path)
    ids = SpmEncoder(vocabulary, native).encode("<s><|im_start|> the<|im_end|>\ntime</s>")
    assert texts_of(vocabulary, ids) == [
        *["<s>", "<|im_start|>", "▁", "▁the", "<|im_end|>"],
        *["▁", "<0x0A>", "t", "i", "m", "e", "</s>"],
    ]


def test_spm_without_the_space_in_front(
    spm_path: Path, native: Callable[[bytes], list[int]]
) -> None:
    vocabulary = msgspec.structs.replace(vocabulary_of(spm_path), add_space_prefix=False)
    encoder = SpmEncoder(vocabulary, native)
    for text in TEXTS:
        assert spell(vocabulary, encoder.encode(text)) == text
    assert texts_of(vocabulary, encoder.encode("the the")) == ["t", "h", "e", "▁the"]


def test_a_token_across_the_newline_keeps_the_space(spm_path: Path) -> None:
    vocabulary = msgspec.structs.replace(vocabulary_of(spm_path), add_space_prefix=False)

    def merging(text: bytes) -> list[int]:
        return [99] if text == b"\nx" else [*text]

    assert SpmEncoder(vocabulary, merging).encode("x") == [120]


def test_spm_without_control_tokens(spm_path: Path, native: Callable[[bytes], list[int]]) -> None:
    vocabulary = msgspec.structs.replace(vocabulary_of(spm_path), special={})
    assert texts_of(vocabulary, SpmEncoder(vocabulary, native).encode("the")) == ["▁the"]


@pytest.mark.parametrize(
    ("add_bos", "bos", "ids", "expected"),
    [
        (True, 1, [5, 6], [1, 5, 6]),
        (True, 1, [1, 5], [1, 5]),
        (True, 1, [], [1]),
        (False, 1, [5], [5]),
        (True, None, [5], [5]),
    ],
)
def test_bos(
    bpe: Vocabulary, add_bos: bool, bos: int | None, ids: list[int], expected: list[int]
) -> None:
    assert with_bos(ids, msgspec.structs.replace(bpe, add_bos=add_bos, bos=bos)) == expected


@pytest.mark.model
def test_smollm2_reads_as_its_own_tokenizer_does(smollm2_path: Path) -> None:
    vocabulary = vocabulary_of(smollm2_path)
    encoder = bpe_with(vocabulary, "smollm")
    chat = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    assert encoder.encode(chat) == [
        *[1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198]
    ]
    for text in TEXTS:
        assert spell(vocabulary, encoder.encode(text)) == text
    # Counted by current llama.cpp with the same file.
    counts = {"👍🏽" * 20: 120, "12345 67.8": 10, "  two  spaces   three": 6}
    assert {text: len(encoder.encode(text)) for text in counts} == counts
