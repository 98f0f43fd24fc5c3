"""A model's tokens as llguidance is told them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from llguidance import LLTokenizer
    from numpy.typing import NDArray

    Mask: TypeAlias = NDArray[np.uint32]


class Vocabulary:
    """The tokens as llguidance sees them; `hidden` are those that are no part of the text."""

    def __init__(
        self,
        tokens: Sequence[bytes],
        hidden: frozenset[int],
        ends: frozenset[int],
        *,
        encode: Callable[[str], list[int]],
    ) -> None:
        self.hidden = {token: bytes(tokens[token]) for token in hidden}
        # llguidance needs a token that ends: one that does not exist, where a model has none.
        self.ends = ends or frozenset([len(tokens)])
        self._spelled = [b"" if i in hidden else bytes(each) for i, each in enumerate(tokens)]
        self._encode = encode
        self._newline = len(encode("\n"))
        self._ids = {each: token for token, each in enumerate(self._spelled) if each}
        self._longest = max(map(len, self._ids))
        self.tokenizer = self._tokenizer(tokens)
        self.end_bits = self.bits(self.ends)

    def spelled(self, token: int) -> bytes:
        """What it adds to the text; nothing for a hidden one."""
        return self._spelled[token]

    @cached_property
    def sorted(self) -> list[tuple[bytes, int]]:
        return sorted((each, token) for token, each in enumerate(self._spelled) if each)

    def bits(self, tokens: Collection[int]) -> Mask:
        """A mask with these tokens alone."""
        import numpy as np

        words = np.zeros((self.tokenizer.vocab_size + 31) // 32, np.uint32)
        for token in tokens:
            words[token // 32] |= np.uint32(1 << token % 32)
        return words

    def encode(self, text: str) -> list[int]:
        """Tokens that spell exactly this text, as the model's tokeniser cuts it where it can.

        A tokeniser finds control tokens in a text, and SentencePiece's puts a space in front.
        """
        data = text.encode()
        for ids in (self._encode(text), self._encode("\n" + text)[self._newline :]):
            if b"".join(map(self.spelled, ids)) == data:
                return ids
        return self.cut(data)[0]

    def cut(self, data: bytes) -> tuple[list[int], bytes]:
        """The longest token first, then the rest alike; and what cannot be spelled."""
        ids: list[int] = []
        place = 0
        while place < len(data):
            ends = range(min(len(data), place + self._longest), place, -1)
            end = next((end for end in ends if data[place:end] in self._ids), None)
            if end is None:
                break
            ids.append(self._ids[data[place:end]])
            place = end
        return ids, data[place:]

    def _tokenizer(self, tokens: Sequence[bytes]) -> LLTokenizer:
        from llguidance import LLTokenizer, TokenizerWrapper

        none = [b""] * (max(self.ends) + 1 - len(tokens))
        told = _Told(
            eos_token_id=min(self.ends),
            tokens=[*map(bytes, tokens), *none],
            special_token_ids=sorted({*self.hidden, *self.ends}),
            encode=self.encode,
        )
        return LLTokenizer(TokenizerWrapper(told), eos_token=sorted(self.ends))


class _Told:
    """What llguidance asks of a tokeniser, by the names it asks for."""

    bos_token_id = None

    def __init__(
        self,
        *,
        eos_token_id: int,
        tokens: list[bytes],
        special_token_ids: list[int],
        encode: Callable[[str], list[int]],
    ) -> None:
        self.eos_token_id = eos_token_id
        self.tokens = tokens
        self.special_token_ids = special_token_ids
        self._encode = encode

    def __call__(self, text: str) -> list[int]:
        return self._encode(text)
