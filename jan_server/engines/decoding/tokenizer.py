"""Text -> token ids, as current llama.cpp does it.

Control tokens in the text become single ids: what is tokenised is a rendered prompt. (That a user's
own text may hold them too is the templates' concern.)

The library's own tokeniser knows neither control tokens nor how BPE text is cut. So BPE is done by
Hugging Face's `tokenizers`, built from the file's tokens and merges; SentencePiece by the library,
piece by piece between the control tokens (compared, over tests/corpus.py, with Mistral's published
model in Google's sentencepiece).

Encoders keep nothing between two calls, so several threads may use one at once, as far as
`native` lets them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from jan_server.engines.decoding.cuts import Cut
from jan_server.engines.decoding.vocabulary import Vocabulary
from jan_server.errors import ModelCannotRun


class TextEncoder(Protocol):
    def encode(self, text: str) -> list[int]:
        """The ids of all the text, control tokens included; nothing is put in front."""
        ...


def make_encoder(vocabulary: Vocabulary, native: Callable[[bytes], list[int]]) -> TextEncoder:
    """`native` is the library's tokeniser: text without NUL -> ids, a space put in front."""
    if vocabulary.cut is None:
        return SpmEncoder(vocabulary, native)
    return BpeEncoder(vocabulary, vocabulary.cut)


def with_bos(ids: list[int], vocabulary: Vocabulary) -> list[int]:
    """BOS in front, when the file says so and the prompt does not begin with it already."""
    if vocabulary.bos is None or not vocabulary.add_bos or ids[:1] == [vocabulary.bos]:
        return ids
    return [vocabulary.bos, *ids]


class BpeEncoder:
    """Byte-level BPE. `tokenizer` is whole in itself: `to_str()` is a tokenizer.json."""

    def __init__(self, vocabulary: Vocabulary, cut: Cut) -> None:
        ids = {token.decode(): id for id, token in enumerate(vocabulary.tokens)}
        merges = [_pair(merge) for merge in vocabulary.merges]
        try:
            model = models.BPE(vocab=ids, merges=merges, ignore_merges=cut.whole_words)
        except Exception as error:  # the package raises nothing narrower
            raise ModelCannotRun(f"The merges of its vocabulary are damaged: {error}.") from error
        self.tokenizer = Tokenizer(model)
        self.tokenizer.pre_tokenizer = make_cutter(cut)
        if cut.composed:
            self.tokenizer.normalizer = normalizers.NFC()
        self.tokenizer.add_special_tokens(
            [AddedToken(text.decode(), normalized=False) for text in vocabulary.special]
        )

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids


def _pair(merge: bytes) -> tuple[str, str]:
    left, _, right = merge.decode().partition(" ")
    return left, right


def make_cutter(cut: Cut) -> pre_tokenizers.PreTokenizer:
    """Cuts text, and spells the pieces in the alphabet of bytes."""
    return pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in cut.patterns),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


class SpmEncoder:
    """SentencePiece by the library; a space before the text and after each control token."""

    def __init__(self, vocabulary: Vocabulary, native: Callable[[bytes], list[int]]) -> None:
        self._native = native
        self._special = vocabulary.special
        self._add_space = vocabulary.add_space_prefix
        self._nul = vocabulary.tokens.index(b"<0x00>")
        self._newline = native(b"\n")
        # The longest first, as one may begin with another.
        texts = sorted(self._special, key=len, reverse=True)
        self._split = re.compile(b"(" + b"|".join(map(re.escape, texts)) + b")") if texts else None

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        data = text.encode()
        for part in self._split.split(data) if self._split else [data]:
            if part in self._special:
                ids.append(self._special[part])
            elif part:
                ids += self._encode_part(part)
        return ids

    def _encode_part(self, part: bytes) -> list[int]:
        first, *others = part.split(b"\0")  # The library's texts end at a NUL.
        ids = self._with_space(first) if self._add_space else self._without_space(first)
        for other in others:
            ids += [self._nul, *self._without_space(other)]
        return ids

    def _with_space(self, text: bytes) -> list[int]:
        """As the library does it, which puts none before nothing (a text that begins with NUL)."""
        return self._native(text) if text else self._without_space(b" ")

    def _without_space(self, text: bytes) -> list[int]:
        """The library always puts a space in front, so a newline keeps it apart from the text.

        Where a token of the vocabulary goes across that newline, the space stays.
        """
        if not text:
            return []
        ids = self._native(b"\n" + text)
        count = len(self._newline)
        return ids[count:] if ids[:count] == self._newline else self._native(text)
