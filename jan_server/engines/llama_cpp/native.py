"""A model in llama.cpp's memory, and the contexts that evaluate its tokens.

What is worked around, each measured or read in its source:

- Parameters are asked back after they were set: see `library.py`.
- Some models cannot forget the end of what they hold (recurrent ones keep one state): what is to
  stay is evaluated again then.
- A state for embeddings costs the head for every token while it is asked for. So it is asked for
  only when it is wanted, and the last token evaluated once more.
- On the CPU its flash attention divides what a single token looks at (beyond 512 tokens) among the
  threads, and adds up what they found: with another number of threads other logits come out.
  Without it they are the same; but prompts are read 6 to 11 % slower, and tokens behind 64 decoded
  5 % slower (behind 256 as fast, behind 512 7 % faster). So it stays on, and a seeded answer can
  differ by what else runs.
- Two threads in one context are a segfault; ctypes frees the GIL, so callers use one for each.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jan_server.engines.decoding.native import LARGEST_BATCH, Floats
from jan_server.engines.llama_cpp.library import ERRORS, Batch
from jan_server.errors import ModelCannotRun

# llama.h's enum llama_pooling_type.
POOLED_NOT, POOLED_LAST = 0, 3

OMP_PAUSE_SOFT = 1
"""omp.h's `omp_pause_soft`."""


class NativeModel:
    """The weights and the vocabulary. Freed with the last of its contexts, or by `close`."""

    def __init__(self, library: Any, path: Path, *, gpu_layers: int) -> None:
        """Raises ModelCannotRun when llama.cpp refuses the file."""
        ERRORS.clear()
        params = library.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        self.library = library
        self.name = path.name
        self.on_gpu = gpu_layers > 0 and bool(library.llama_supports_gpu_offload())
        self.contexts = 0
        self.pointer = library.llama_model_load_from_file(str(path).encode(), params)
        if not self.pointer:
            raise ModelCannotRun(f"llama.cpp refuses {path.name}: {' '.join(ERRORS)}")
        self.vocabulary = library.llama_model_get_vocab(self.pointer)
        self.vocabulary_size: int = library.llama_vocab_n_tokens(self.vocabulary)
        self.width: int = library.llama_model_n_embd(self.pointer)
        self.bytes: int = library.llama_model_size(self.pointer)
        self.has_encoder: bool = library.llama_model_has_encoder(self.pointer)

    def __repr__(self) -> str:
        return f"<NativeModel {self.name}, {self.contexts} contexts>"

    def release(self) -> None:
        """A context is gone."""
        self.contexts -= 1
        if not self.contexts:
            self.close()

    def close(self) -> None:
        if self.pointer:
            self.library.llama_model_free(self.pointer)
        self.pointer = None


class NativeContext:
    """One context of a model. One thread only; `close` frees it."""

    def __init__(self, model: NativeModel, *, context_length: int) -> None:
        """Raises ModelCannotRun when there is no memory for it, or the model is of another kind."""
        self._model = model
        self._library = model.library
        self._tokens: list[int] = []
        self._threads = 0
        self._logits_at = 0
        self._logits = np.empty(0, np.float32)
        params = self._library.llama_context_default_params()
        params.n_ctx, params.n_seq_max = context_length, 1
        params.n_batch = params.n_ubatch = min(LARGEST_BATCH, context_length)
        ERRORS.clear()
        self._pointer = self._library.llama_init_from_model(model.pointer, params)
        if not self._pointer:
            raise ModelCannotRun(f"llama.cpp makes no context for {model.name}: {' '.join(ERRORS)}")
        model.contexts += 1
        try:
            self._check(params)
        except ModelCannotRun:
            self.close()
            raise
        self.context_length = context_length
        self.vocabulary_size = model.vocabulary_size
        self.width = model.width
        self._memory = self._library.llama_get_memory(self._pointer)

    def __repr__(self) -> str:
        return f"<NativeContext of {self._model.name}, {len(self._tokens)} tokens>"

    def eval(
        self, tokens: Sequence[int], *, n_past: int, threads: int, with_logits: bool = True
    ) -> None:
        """Evaluate `tokens`, LARGEST_BATCH at most, behind the first `n_past` that it holds.

        Without logits what `logits` then gives is meaningless.
        """
        count = len(tokens)
        room = min(self.context_length - n_past, LARGEST_BATCH)
        if not self._pointer or not 0 < count <= room or n_past > len(self._tokens):
            raise ValueError(f"{count} tokens after {n_past} cannot be evaluated by {self!r}")
        if min(tokens) < 0 or max(tokens) >= self.vocabulary_size:
            raise ValueError(f"tokens are numbers below {self.vocabulary_size}")
        self._set_threads(threads)
        self._keep(n_past)
        self._decode(tokens, with_logits=with_logits)

    def keep(self, count: int) -> int:
        """See Native.keep. From a recurrent model's one state no end can be taken."""
        there = len(self._tokens)
        if count < there and not self._library.llama_memory_seq_rm(self._memory, 0, count, -1):
            self._library.llama_memory_clear(self._memory, False)
            count = 0
        del self._tokens[count:]
        return count

    def logits(self) -> Floats:
        """Those of the last token evaluated: a view, overwritten by the next `eval`, read only."""
        address = self._library.llama_get_logits_ith(self._pointer, -1)
        # It stays the same from token to token, and a view takes 0.04 ms to make.
        if address != self._logits_at:
            self._logits_at = address
            self._logits = _view(address, self.vocabulary_size)
        return self._logits

    def embedding(self) -> Floats:
        """The last token's state before the head, or what the model itself makes of its states."""
        last = self._tokens[-1]
        self._keep(len(self._tokens) - 1)
        self._library.llama_set_embeddings(self._pointer, True)
        try:
            self._decode([last], with_logits=True)
            if self._library.llama_pooling_type(self._pointer) == POOLED_NOT:
                address = self._library.llama_get_embeddings_ith(self._pointer, -1)
            else:
                address = self._library.llama_get_embeddings_seq(self._pointer, 0)
            return _view(address, self.width).copy()
        finally:
            self._library.llama_set_embeddings(self._pointer, False)

    def rest(self) -> None:
        """See Native.rest.

        GNU's OpenMP keeps threads for every thread that computed with it. Where they are more than
        CPUs in all, it lets none wait by spinning: decoding in a slot's thread was half as fast,
        since the thread that had loaded the model had some too.
        """
        if pause := getattr(self._library, "omp_pause_resource_all", None):
            pause(OMP_PAUSE_SOFT)

    def close(self) -> None:
        """Free the memory; the views of the logits are gone with it."""
        if self._pointer:
            self._library.llama_free(self._pointer)
            self._pointer = None
            self._model.release()

    def _check(self, params: Any) -> None:
        set_back = {
            name: getattr(self._library, f"llama_{name}")(self._pointer)
            for name in ("n_batch", "n_ubatch", "n_seq_max")
        }
        if any(getattr(params, name) != value for name, value in set_back.items()):
            raise ModelCannotRun(f"This version of xllamacpp is not known: it made {set_back}.")
        if self._library.llama_pooling_type(self._pointer) not in (POOLED_NOT, POOLED_LAST):
            raise ModelCannotRun(
                f"{self._model.name} is a model for embeddings alone, which answers nothing."
            )

    def _set_threads(self, threads: int) -> None:
        if threads != self._threads:
            self._library.llama_set_n_threads(self._pointer, threads, threads)
            self._threads = threads

    def _keep(self, count: int) -> None:
        """As `keep`, and what cannot be held is evaluated again."""
        kept = self._tokens[:count]
        for start in range(self.keep(count), count, LARGEST_BATCH):
            self._decode(kept[start : start + LARGEST_BATCH], with_logits=False)

    def _decode(self, tokens: Sequence[int], *, with_logits: bool) -> None:
        count = len(tokens)
        batch = Batch(n_tokens=count, token=(ctypes.c_int32 * count)(*tokens))
        # Nothing said means: of the last token.
        if not with_logits:
            batch.logits = (ctypes.c_int8 * count)()
        # In this order: whatever happens, it holds at least what the list says.
        code = self._library.llama_decode(self._pointer, batch)
        if code:
            raise RuntimeError(f"llama.cpp could not evaluate {count} tokens ({code}): {self!r}")
        self._tokens += tokens


def _view(address: int, size: int) -> Floats:
    view: Floats = np.ctypeslib.as_array((ctypes.c_float * size).from_address(address))
    view.flags.writeable = False
    return view
