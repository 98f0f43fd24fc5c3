"""The last step of a model: left out for a prompt's tokens, and made for the last one alone.

The head is the matrix that makes a score for every token of the vocabulary. The library of 2023
applies it to every token of a prompt and throws all but the last one's scores away: with 49k tokens
and 135M parameters a fifth of the arithmetic. So it is left out, that is, the library sees a matrix
of one row, and where the scores are wanted it is applied to what the last token came to, by the
same function of the library: they are the same bit for bit. Where the matrix lies is read out of
the library's own list of tensors.

Hazard: after an evaluation of n tokens the library copies the last token's scores from where they
would be, which with one row lies behind its result, by less than the size of n tokens' scores. That
is still within the buffer that it has: this was made for ROOMY tokens, four times as many as are
evaluated at once, and all that it holds grows with their number. (Pages that are not used take no
memory.) For a smaller context it is made smaller: there the head is not left out.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jan_server.engines.ctransformers.ggml import FUNCTIONS, Product
from jan_server.engines.decoding.native import LARGEST_BATCH

ROOMY = 4 * LARGEST_BATCH
"""Tokens that the library's buffers are made for, where its context holds as many."""


class Head:
    """Of one model; `rows` is the number that the library reads, and `left_out` changes.

    One thread at a time; `close` frees its memory, and comes before the model's end.
    """

    def __init__(self, product: Product, rows: Any) -> None:
        self._product = product
        self._rows = rows
        self._count = int(rows.value)

    @property
    def rows(self) -> int:
        return int(self._rows.value)

    @contextmanager
    def left_out(self) -> Iterator[None]:
        self._rows.value = 1
        try:
            yield
        finally:
            self._rows.value = self._count

    def apply(self, state: Any, logits: Any, *, threads: int) -> None:
        """Make a token's scores, `logits`, of its `state`: pointers to as many floats as it has."""
        self._product.compute(state, logits, threads=threads)

    def close(self) -> None:
        self._product.close()


class _Tensor(ctypes.Structure):
    """The beginning of ggml.h's `ggml_tensor` of that month."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("backend", ctypes.c_int),
        ("n_dims", ctypes.c_int),
        ("ne", ctypes.c_int64 * 4),
    )


class _Named(ctypes.Structure):
    """libstdc++'s `std::pair<std::string, ggml_tensor *>`."""

    _fields_ = (
        ("text", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("_short", ctypes.c_char * 16),
        ("tensor", ctypes.POINTER(_Tensor)),
    )


class _Vector(ctypes.Structure):
    """libstdc++'s `std::vector`."""

    _fields_ = (("begin", ctypes.c_void_p), ("end", ctypes.c_void_p))


TENSOR_MAP = "_Z29llama_internal_get_tensor_mapB5cxx11P13llama_context"
OUTPUT = b"output.weight"


def find_head(library: Any, context: int, *, width: int, rows: int) -> Head | None:
    """Of a `llama_context *`. None where it is not just as expected; then it is never left out."""
    if any(getattr(library, name, None) is None for name in (TENSOR_MAP, *FUNCTIONS)):
        return None
    function = getattr(library, TENSOR_MAP)
    function.restype, function.argtypes = ctypes.POINTER(_Vector), [ctypes.c_void_p]
    vector = function(context).contents
    count, rest = divmod((vector.end or 0) - (vector.begin or 0), ctypes.sizeof(_Named))
    if rest or not vector.begin:
        return None
    for named in (_Named * count).from_address(vector.begin):
        if named.length == len(OUTPUT) and ctypes.string_at(named.text, named.length) == OUTPUT:
            tensor = named.tensor.contents
            if tensor.n_dims == 2 and list(tensor.ne) == [width, rows, 1, 1]:
                count = ctypes.c_int64.from_buffer(tensor.ne, ctypes.sizeof(ctypes.c_int64))
                return Head(Product(library, named.tensor, width=width, rows=rows), count)
    return None
