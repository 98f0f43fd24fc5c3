from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from jan_server.engines.decoding.cuts import CUTS
from jan_server.engines.decoding.vocabulary import (
    byte_letters,
    detokenize,
    from_letters,
    read_vocabulary,
)
from jan_server.gguf import Header, read_header
from tests.tiny_gguf import byte_alphabet, packed, write_tiny_gguf


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Header]:
    folder: Path = tmp_path_factory.mktemp("vocabularies")
    return {
        "bpe": read_header(write_tiny_gguf(folder / "bpe.gguf")),
        "spm": read_header(write_tiny_gguf(folder / "spm.gguf", vocabulary="spm", add_bos=True)),
    }


def test_the_alphabet_of_bytes_is_gpt2s() -> None:
    assert byte_letters() == {letter: byte for byte, letter in byte_alphabet().items()}
    assert [byte_letters()[letter] for letter in "!ĠĊÿ"] == [33, 32, 10, 255]


@pytest.mark.parametrize(
    ("text", "spelled"), [("Ġthe", b" the"), ("ð", b"\xf0"), ("two words", b"two words")]
)
def test_letters_spell_bytes_and_other_text_itself(text: str, spelled: bytes) -> None:
    assert from_letters(text.encode()) == spelled


def test_a_bpe_vocabulary(headers: dict[str, Header]) -> None:
    found = read_vocabulary(headers["bpe"])
    newline = found.tokens.index("Ċ".encode())
    assert (found.kind, found.cut, found.bos, found.eos) == ("gpt2", CUTS["smollm"], 1, 2)
    assert (found.add_bos, found.add_space_prefix) == (False, False)
    assert found.special == {b"<|endoftext|>": 0, b"<|im_start|>": 1, b"<|im_end|>": 2}
    assert found.ends == {0, 2}
    assert [found.piece(token) for token in (0, 1, newline)] == [b"", b"", b"\n"]
    assert [found.text(2), found.text(None)] == ["<|im_end|>", ""]


def test_a_sentencepiece_vocabulary(headers: dict[str, Header]) -> None:
    found = read_vocabulary(headers["spm"])
    last = len(found.tokens)
    assert (found.kind, found.cut, found.bos, found.eos) == ("llama", None, 1, 2)
    assert (found.add_bos, found.add_space_prefix) == (True, True)
    assert [*found.special.values()] == [0, 1, 2, last - 2, last - 1]
    assert found.ends == {2, last - 1}
    the = found.tokens.index("▁the".encode())
    pieces = [found.piece(token) for token in (0, 1, 13, the, last - 1)]
    assert pieces == [b"", b"", b"\n", b" the", b""]


@pytest.mark.parametrize(
    ("kind", "changes", "add_bos"),
    [
        ("bpe", {}, False),
        ("bpe", {"pre": "llama-bpe"}, True),
        ("bpe", {"pre": "tekken"}, True),
        ("bpe", {"pre": "llama-bpe", "add_bos_token": False}, False),
        ("spm", {}, True),
        ("spm", {"add_bos_token": False}, False),
    ],
)
def test_whether_bos_is_added_when_the_file_does_not_say(
    headers: dict[str, Header], kind: str, changes: dict[str, object], add_bos: bool
) -> None:
    metadata = dict(headers[kind].metadata)
    del metadata["tokenizer.ggml.add_bos_token"]
    metadata |= {f"tokenizer.ggml.{name}": packed(value) for name, value in changes.items()}  # type: ignore[misc]  # values of a table
    header = msgspec.structs.replace(headers[kind], metadata=metadata)
    assert read_vocabulary(header).add_bos is add_bos


@pytest.mark.parametrize("kind", ["bpe", "spm"])
def test_the_spelling_of_every_token(headers: dict[str, Header], kind: str) -> None:
    found = read_vocabulary(headers[kind])
    assert found.spellings == [found.spelled(token) for token in range(len(found.tokens))]


def test_sentencepieces_spaces_before_text_are_not_shown(headers: dict[str, Header]) -> None:
    found = read_vocabulary(headers["spm"])
    the = found.tokens.index("▁the".encode())
    assert detokenize(found, [1, the, the, 2, the]) == "<s>the the</s>the"
    bare = msgspec.structs.replace(found, add_space_prefix=False)
    assert detokenize(bare, [1, the, the, 2, the]) == "<s> the the</s> the"


def test_a_token_that_ends_answers_is_one_even_where_the_file_calls_it_text(
    headers: dict[str, Header],
) -> None:
    header = headers["bpe"]
    types = list(header.numbers("tokenizer.ggml.token_type") or ())
    types[:3] = 3, 1, 1  # <|im_start|> and <|im_end|> as text
    metadata = {**header.metadata, "tokenizer.ggml.token_type": packed(tuple(types))}
    found = read_vocabulary(msgspec.structs.replace(header, metadata=metadata))
    assert found.special == {b"<|endoftext|>": 0, b"<|im_end|>": 2}
    assert found.ends == {0, 2}


def test_what_the_user_defined_is_shown_and_one_token(headers: dict[str, Header]) -> None:
    header = headers["spm"]
    types = list(header.numbers("tokenizer.ggml.token_type") or ())
    the = (header.strings("tokenizer.ggml.tokens") or []).index("▁the".encode())
    types[the] = 4
    metadata = {**header.metadata, "tokenizer.ggml.token_type": packed(tuple(types))}
    found = read_vocabulary(msgspec.structs.replace(header, metadata=metadata))
    assert found.special["▁the".encode()] == the
    assert found.piece(the) == "▁the".encode()
