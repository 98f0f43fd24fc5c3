"""A model's tokens as llama.cpp knows them: every kind of vocabulary that it reads."""

from __future__ import annotations

import ctypes
from typing import Any

from jan_server.engines.decoding.vocabulary import CONTROL, UNKNOWN, USER_DEFINED, Vocabulary
from jan_server.engines.llama_cpp.native import NativeModel
from jan_server.gguf import Header

# llama.h's enum llama_token_attr, and what those are in a GGUF file.
_ATTRIBUTES = ((1 << 0, UNKNOWN), (1 << 3, CONTROL))
_SPECIAL = (1 << 0) | (1 << 3) | (1 << 4)
_LONGEST_PIECE = 256


def read_vocabulary(model: NativeModel, header: Header) -> Vocabulary:
    """Its tokens are already what they spell: of their types only what answers leave out is told.

    `header` says what the library does not: whether a space is put before a text.
    """
    library, vocabulary = model.library, model.vocabulary
    pieces = _Pieces(library, vocabulary)
    every = range(model.vocabulary_size)
    attributes = [library.llama_vocab_get_attr(vocabulary, token) for token in every]
    special = [token for token in every if attributes[token] & _SPECIAL]
    kind = header.text("tokenizer.ggml.model") or ""
    return Vocabulary(
        kind=kind,
        cut=None,
        tokens=[pieces.of(token) for token in every],
        types=tuple(map(_type, attributes)),
        merges=[],
        special={library.llama_vocab_get_text(vocabulary, token): token for token in special},
        bos=_id(library.llama_vocab_bos(vocabulary)),
        eos=_id(library.llama_vocab_eos(vocabulary)),
        add_bos=library.llama_vocab_get_add_bos(vocabulary),
        add_space_prefix=bool(
            header.metadata.get("tokenizer.ggml.add_space_prefix", kind == "llama")
        ),
        ends=frozenset(token for token in special if library.llama_vocab_is_eog(vocabulary, token)),
    )


class NativeEncoder:
    """Text -> ids by llama.cpp's own tokenizer. It only reads: any thread may call it."""

    def __init__(self, model: NativeModel) -> None:
        self._tokenize = model.library.llama_tokenize
        self._vocabulary = model.vocabulary

    def encode(self, text: str) -> list[int]:
        """Control tokens in the text are single ones; no token is added."""
        data = text.encode()
        # A token for each byte, and those that some vocabularies put around.
        room = len(data) + 8
        buffer = (ctypes.c_int32 * room)()
        count = self._tokenize(self._vocabulary, data, len(data), buffer, room, False, True)
        return buffer[: max(count, 0)]


class _Pieces:
    def __init__(self, library: Any, vocabulary: int) -> None:
        self._function = library.llama_token_to_piece
        self._vocabulary = vocabulary
        self._buffer = ctypes.create_string_buffer(_LONGEST_PIECE)

    def of(self, token: int) -> bytes:
        """The bytes that a token spells, control tokens too."""
        count = self._fill(token)
        if count < 0:
            self._buffer = ctypes.create_string_buffer(-count)
            count = self._fill(token)
        return self._buffer.raw[:count]

    def _fill(self, token: int) -> int:
        size = len(self._buffer)
        filled: int = self._function(self._vocabulary, token, self._buffer, size, 0, True)
        return filled


def _type(attributes: int) -> int:
    """Not NORMAL nor BYTE, which would be read as letters that stand for bytes."""
    return next((type for bit, type in _ATTRIBUTES if attributes & bit), USER_DEFINED)


def _id(token: int) -> int | None:
    return token if token >= 0 else None
