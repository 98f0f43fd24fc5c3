"""A model's tokens as its GGUF file has them; pure.

Two kinds are known. `llama` (SentencePiece): `▁` stands for a space, and `<0x0A>` for a byte.
`gpt2` (BPE): bytes are spelled in GPT-2's alphabet of 256 printable letters (`Ġ` is a space), and
how text is cut before merging is named by `tokenizer.ggml.pre` (`cuts.py` has the table).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, cached_property
from itertools import chain

import msgspec

from jan_server.engines.decoding.cuts import CUTS, Cut
from jan_server.gguf import Header

SPM = "llama"
BPE = "gpt2"

# llama.h's enum llama_token_type.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
UNSPOKEN = frozenset({UNKNOWN, CONTROL, UNUSED})

# Tokens that end an answer even where the file names another as its end, and are control tokens
# even where the file says that they are text: llama.cpp's list of end-of-generation tokens, those
# of other architectures left out, and OpenChat's `<|end_of_turn|>`.
END_TEXTS = frozenset(
    text.encode()
    for text in (
        "</s>",
        "<|im_end|>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end|>",
        "<|end_of_turn|>",
        "<end_of_turn>",
        "<end_of_utterance>",
        "<｜end▁of▁sentence｜>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "[EOS]",
        "<eos>",
    )
)
END_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """`tokens` as in the file; `special` are the texts that are one token wherever they stand.

    `cut` is None for SentencePiece, which cuts nothing.
    """

    kind: str
    cut: Cut | None
    tokens: list[bytes]
    types: tuple[int, ...]
    merges: list[bytes]
    special: dict[bytes, int]
    bos: int | None
    eos: int | None
    add_bos: bool
    add_space_prefix: bool
    ends: frozenset[int]

    def piece(self, token: int) -> bytes:
        """What the token adds to an answer: nothing for control tokens."""
        return b"" if self.types[token] in UNSPOKEN else self.spelled(token)

    @property
    def unspoken(self) -> list[int]:
        """The tokens that add nothing to an answer."""
        return [token for token, kind in enumerate(self.types) if kind in UNSPOKEN]

    def spelled(self, token: int) -> bytes:
        """The bytes that the token's text stands for."""
        text, kind = self.tokens[token], self.types[token]
        if kind == BYTE:
            return bytes([int(text[3:5], 16)])
        if kind != NORMAL:
            return text
        if self.kind == SPM:
            return text.replace("▁".encode(), b" ")
        return from_letters(text)

    @cached_property
    def spellings(self) -> list[bytes]:
        """`spelled` of every token, by its id."""
        return [self.spelled(token) for token in range(len(self.tokens))]

    def text(self, token: int | None) -> str:
        """The token's own text, for templates; empty for no token."""
        return "" if token is None else self.tokens[token].decode(errors="replace")


def detokenize(vocabulary: Vocabulary, tokens: Iterable[int]) -> str:
    """The text of the tokens, control tokens spelled; bytes that are no UTF-8 become U+FFFD.

    The space that SentencePiece puts before each stretch of text is taken away again: what was
    tokenised comes back as it was. Every id must be a token's.
    """
    spellings = vocabulary.spellings
    if not vocabulary.add_space_prefix:
        return b"".join(spellings[token] for token in tokens).decode(errors="replace")
    special = frozenset(vocabulary.special.values())
    text = bytearray()
    starts = True
    for token in tokens:
        spelling = spellings[token]
        text += spelling[1:] if starts and spelling.startswith(b" ") else spelling
        starts = token in special
    return text.decode(errors="replace")


@cache
def byte_letters() -> dict[str, int]:
    """GPT-2's alphabet, letter -> byte: printable Latin-1 as it is, the others from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = sorted(set(range(256)) - set(plain))
    letters = {chr(byte): byte for byte in plain}
    return letters | {chr(0x100 + number): byte for number, byte in enumerate(others)}


def from_letters(text: bytes) -> bytes:
    """The bytes that a BPE token spells; one with other characters stands for itself."""
    letters = byte_letters()
    try:
        return bytes([letters[letter] for letter in text.decode()])
    except KeyError:
        return text


def read_vocabulary(header: Header) -> Vocabulary:
    """Of a header that `check_vocabulary` has nothing against."""
    kind = header.text("tokenizer.ggml.model") or ""
    tokens = list(header.strings("tokenizer.ggml.tokens") or ())
    types = tuple(int(number) for number in header.numbers("tokenizer.ggml.token_type") or ())
    cut = CUTS.get(header.text("tokenizer.ggml.pre") or "") if kind == BPE else None
    wants_bos = cut.add_bos if cut else kind == SPM
    add_bos = header.metadata.get("tokenizer.ggml.add_bos_token", wants_bos)
    special = {
        text: token
        for token, (text, type) in enumerate(zip(tokens, types, strict=True))
        if (type in (CONTROL, USER_DEFINED, UNKNOWN) and text) or text in END_TEXTS
    }
    named = {header.integer(f"tokenizer.ggml.{key}") for key in END_KEYS} - {None}
    texts = {token for text, token in special.items() if text in END_TEXTS}
    return Vocabulary(
        kind=kind,
        cut=cut,
        tokens=tokens,
        types=types,
        merges=list(header.strings("tokenizer.ggml.merges") or ()),
        special=special,
        bos=header.integer("tokenizer.ggml.bos_token_id"),
        eos=header.integer("tokenizer.ggml.eos_token_id"),
        add_bos=bool(add_bos),
        add_space_prefix=bool(header.metadata.get("tokenizer.ggml.add_space_prefix", kind == SPM)),
        ends=frozenset(token for token in chain(named, texts) if token is not None),
    )


def shown(text: str | None) -> str:
    """A file's text in a message, which a damaged file could fill with megabytes."""
    return repr(text if text is None else text[:40])


def check_vocabulary(header: Header) -> str | None:
    """Why this vocabulary cannot be used; None when nothing speaks against it."""
    kind = header.text("tokenizer.ggml.model")
    if kind not in KIND_CHECKS:
        return f"its vocabulary is of the kind {shown(kind)}, and 'llama' and 'gpt2' are known"
    tokens = list(header.strings("tokenizer.ggml.tokens") or ())
    types = header.numbers("tokenizer.ggml.token_type")
    # The library reads the types as 32-bit numbers, whatever they are.
    if not tokens or not types or len(tokens) != len(types) or not _is_array(header, "token_type"):
        return "its vocabulary is not whole: it needs a type for every token"
    if len(set(tokens)) != len(tokens):
        return "its vocabulary has a token twice"
    if not set(types) <= {NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE}:
        return "its vocabulary has tokens of an unknown type"
    if header.metadata.get("llama.vocab_size", len(tokens)) != len(tokens):
        return "its vocabulary has another size than its header says"
    for key in ("bos_token_id", *END_KEYS):
        value = header.integer(f"tokenizer.ggml.{key}")
        if value is not None and not 0 <= value < len(tokens):
            return f"its {key} is {value}, which is no token"
    return KIND_CHECKS[kind](header, tokens)


NEWLINE_LETTER = "Ċ".encode()
ARRAY_TYPES = {"token_type": 5, "scores": 6}


def _is_array(header: Header, key: str) -> bool:
    return header.array_types.get(f"tokenizer.ggml.{key}") == ARRAY_TYPES[key]


def _check_spm(header: Header, tokens: list[bytes]) -> str | None:
    scores = header.numbers("tokenizer.ggml.scores")
    if not scores or len(scores) != len(tokens) or not _is_array(header, "scores"):
        return "its vocabulary is not whole: it needs a score for every token"
    # The library looks every byte up, and crashes where one is missing.
    if not {b"<0x%02X>" % byte for byte in range(256)} <= set(tokens):
        return "its vocabulary lacks tokens for single bytes"
    types = header.numbers("tokenizer.ggml.token_type") or ()
    named = (text for text, type in zip(tokens, types, strict=True) if type == BYTE)
    if not all(re.fullmatch(rb"<0x[0-9A-F]{2}>", text) for text in named):
        return "its vocabulary has byte tokens that name no byte"
    if header.metadata.get("tokenizer.ggml.add_space_prefix") is False and any(
        b"\n" in token for token in tokens
    ):
        return "it has tokens with newlines and wants no space before its text"
    return None


def _check_bpe(header: Header, tokens: list[bytes]) -> str | None:
    pre = header.text("tokenizer.ggml.pre")
    if pre not in CUTS:
        return f"how it cuts text (tokenizer.ggml.pre) is {shown(pre)}; known are {', '.join(CUTS)}"
    if not header.strings("tokenizer.ggml.merges"):
        return "its vocabulary is not whole: it has no merges"
    try:
        b" ".join([*tokens, *(header.strings("tokenizer.ggml.merges") or ())]).decode()
    except UnicodeDecodeError:
        return "its vocabulary is not UTF-8"
    # The library looks for it as it loads, and crashes without. (Other bytes may be missing:
    # SmolLM2 has no token for 0x04 and twenty more, and leaves them out of what it reads.)
    if NEWLINE_LETTER not in tokens:
        return "its vocabulary lacks a token for the newline"
    return None


KIND_CHECKS = {SPM: _check_spm, BPE: _check_bpe}
