"""The native library of ctransformers 0.2.27 (llama.cpp of September 2023): its only import.

The package's own class `LLM` holds one context, re-reads the file for each, and keeps to itself
what the library can do. So llama.cpp's functions, which its libraries export, are called directly.
What is worked around here, each measured or read in its source:

- `import ctransformers` takes 0.3 s, nearly all of it for huggingface_hub, which its `hub` module
  wants. So the package is entered without running its `__init__`, and only `ctransformers.llm`,
  which finds the library and what a GPU needs, is imported (12 ms).
- Left to itself it asks py-cpuinfo which build fits this processor, 1.2 s; `builds.py` knows.
- More tokens than the context overwrite its end without an error, and a token that the vocabulary
  does not have is a segfault: `eval` refuses both.
- A damaged file is a segfault: callers check the header before (`jan_server.gguf`, `fitting.py`).
- Two threads in one context are a segfault. ctypes frees the GIL, so callers use one thread for
  each. `tokenize` only reads the vocabulary and may be called beside.
- The scores of all tokens of the vocabulary are computed for every token of a prompt, and all but
  the last thrown away: `head.py` leaves that out.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Sequence
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from jan_server.engines.ctransformers.builds import OTHER_ENGINE, PACKAGE, Build, package_spec
from jan_server.engines.ctransformers.ggml import declare
from jan_server.engines.ctransformers.head import ROOMY, Head, find_head
from jan_server.engines.ctransformers.placing import keep_off_this_core
from jan_server.engines.decoding.native import LARGEST_BATCH, Floats
from jan_server.errors import ModelCannotRun


class ContextParams(ctypes.Structure):
    """llama.h's `llama_context_params` of that month; passed by value."""

    _fields_ = (
        ("seed", ctypes.c_uint32),
        ("n_ctx", ctypes.c_int32),
        ("n_batch", ctypes.c_int32),
        ("n_gpu_layers", ctypes.c_int32),
        ("main_gpu", ctypes.c_int32),
        ("tensor_split", ctypes.c_void_p),
        ("rope_freq_base", ctypes.c_float),
        ("rope_freq_scale", ctypes.c_float),
        ("progress_callback", ctypes.c_void_p),
        ("progress_callback_user_data", ctypes.c_void_p),
        ("low_vram", ctypes.c_bool),
        ("mul_mat_q", ctypes.c_bool),
        ("f16_kv", ctypes.c_bool),
        ("logits_all", ctypes.c_bool),
        ("vocab_only", ctypes.c_bool),
        ("use_mmap", ctypes.c_bool),
        ("use_mlock", ctypes.c_bool),
        ("embedding", ctypes.c_bool),
    )


DEFAULTS = {"n_ctx": 512, "n_batch": 512, "rope_freq_base": 10000.0, "rope_freq_scale": 1.0}
"""Of llama.cpp in that month: a library of another would lay the structure out differently."""

_INTS = ctypes.POINTER(ctypes.c_int)
_FLOATS = ctypes.POINTER(ctypes.c_float)
_POINTER = ctypes.c_void_p
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "llama_backend_init": (None, [ctypes.c_bool]),
    "llama_log_set": (None, [_POINTER, _POINTER]),
    "llama_context_default_params": (ContextParams, []),
    "llama_load_model_from_file": (_POINTER, [ctypes.c_char_p, ContextParams]),
    "llama_new_context_with_model": (_POINTER, [_POINTER, ContextParams]),
    "llama_free": (None, [_POINTER]),
    "llama_free_model": (None, [_POINTER]),
    "ggml_cpu_has_gpublas": (ctypes.c_int, []),
    "llama_n_ctx": (ctypes.c_int, [_POINTER]),
    "llama_n_vocab": (ctypes.c_int, [_POINTER]),
    "llama_n_embd": (ctypes.c_int, [_POINTER]),
    "llama_eval": (ctypes.c_int, [_POINTER, _INTS, ctypes.c_int, ctypes.c_int, ctypes.c_int]),
    "llama_get_logits": (_FLOATS, [_POINTER]),
    "llama_get_embeddings": (_FLOATS, [_POINTER]),
    "llama_tokenize_with_model": (
        ctypes.c_int,
        [_POINTER, ctypes.c_char_p, _INTS, ctypes.c_int, ctypes.c_bool],
    ),
}


def open_library(build: Build) -> Any:
    """The loaded library, with its signatures. Raises ModelCannotRun when it does not load."""
    try:
        library = _import_llm().load_library(build.name, gpu=build.gpu_layers > 0)
        declare(library, _SIGNATURES)
    except (OSError, AttributeError) as error:
        raise ModelCannotRun(
            f"ctransformers' {build.name} library does not load here: {error}. {OTHER_ENGINE}."
        ) from error
    params = library.llama_context_default_params()
    found = {name: getattr(params, name) for name in DEFAULTS}
    if found != DEFAULTS:
        raise ModelCannotRun(
            f"ctransformers' {build.name} library is not that of its version 0.2.27. "
            f"{OTHER_ENGINE}."
        )
    library.llama_log_set(ctypes.cast(_LOG, _POINTER), None)
    library.llama_backend_init(False)
    return library


def computes_on_gpus(library: Any) -> bool:
    """Whether it was built to: of a `local` one nothing else tells."""
    return bool(library.ggml_cpu_has_gpublas()) or hasattr(library, "ggml_metal_init")


def _import_llm() -> ModuleType:
    """`ctransformers.llm` without the package's `__init__` (see above)."""
    name = f"{PACKAGE}.llm"
    if name in sys.modules or PACKAGE in sys.modules:
        return importlib.import_module(name)
    sys.modules[PACKAGE] = module_from_spec(package_spec())
    try:
        return importlib.import_module(name)
    finally:
        # Whoever imports the whole package later in this process gets it whole.
        del sys.modules[PACKAGE]


_LOG_ERROR = 2


def log(level: int, text: bytes, _user_data: None) -> None:
    """llama.cpp's own words: its errors go on, the rest is about tensors and buffers."""
    if level <= _LOG_ERROR:
        sys.stderr.write(text.decode(errors="replace"))


# Kept here, since the library calls it at any time.
_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(log)


class NativeModel:
    """A model and one context of it in the library's memory. One thread only; `close` frees it.

    It keeps no list of what is evaluated: the caller says with `n_past` how much of the context
    stays, and everything behind it is overwritten. Several of one file share the mapped weights;
    each takes its own vocabulary (10 MB with 49k tokens) and context.
    """

    def __init__(self, library: Any, path: Path, *, context_length: int, gpu_layers: int) -> None:
        """Raises ModelCannotRun when the library refuses the file; why is on stderr."""
        self._library = library
        self._context: int | None = None
        self._model: int | None = None
        self._logits: tuple[int, Floats] | None = None
        self._head: Head | None = None
        params = library.llama_context_default_params()
        params.n_ctx, params.n_gpu_layers = context_length, gpu_layers
        # Not what is evaluated at once, but what buffers are made for; see `head.py`.
        params.n_batch = ROOMY
        params.embedding = True
        self._model = library.llama_load_model_from_file(str(path).encode(), params)
        if self._model:
            self._context = library.llama_new_context_with_model(self._model, params)
        if not self._context:
            self.close()
            raise ModelCannotRun(f"ctransformers refuses {path.name}. {OTHER_ENGINE}.")
        self.context_length: int = library.llama_n_ctx(self._context)
        self.vocabulary_size: int = library.llama_n_vocab(self._context)
        self.width: int = library.llama_n_embd(self._context)
        if not gpu_layers and self.context_length >= ROOMY:
            self._head = self._find_head()

    def __repr__(self) -> str:
        state = "open" if self._context else "closed"
        return f"<NativeModel {state}, context {self.context_length}>"

    @property
    def context(self) -> int:
        """The `llama_context *`."""
        assert self._context, "closed"
        return self._context

    def _find_head(self) -> Head | None:
        return find_head(self._library, self.context, width=self.width, rows=self.vocabulary_size)

    def eval(
        self, tokens: Sequence[int], *, n_past: int, threads: int, with_logits: bool = True
    ) -> None:
        """See Native.eval."""
        count = len(tokens)
        room = min(self.context_length - n_past, LARGEST_BATCH)
        if not self._context or not 0 < count <= room:
            raise ValueError(f"{count} tokens after {n_past} cannot be evaluated by {self!r}")
        if min(tokens) < 0 or max(tokens) >= self.vocabulary_size:
            raise ValueError(f"tokens are numbers below {self.vocabulary_size}")
        array = (ctypes.c_int * count)(*tokens)
        if self._head is None or (count == 1 and with_logits):
            self._eval(array, count, n_past, threads)
            return
        with self._head.left_out():
            self._eval(array, count, n_past, threads)
        if with_logits:
            state = self._library.llama_get_embeddings(self._context)
            logits = self._library.llama_get_logits(self._context)
            self._head.apply(state, logits, threads=threads)

    def keep(self, count: int) -> int:
        """See Native.keep."""
        return count  # Whatever comes after is written over.

    def _eval(self, array: Any, count: int, n_past: int, threads: int) -> None:
        if threads > 1:
            keep_off_this_core()
        if self._library.llama_eval(self._context, array, count, n_past, threads):
            raise RuntimeError(f"ctransformers could not evaluate {count} tokens after {n_past}")

    def logits(self) -> Floats:
        """See Native.logits."""
        pointer = self._library.llama_get_logits(self.context)
        address = ctypes.addressof(pointer.contents)
        # It stays the same from token to token, and a view takes 0.04 ms to make.
        if self._logits is None or self._logits[0] != address:
            self._logits = address, _view(pointer, self.vocabulary_size)
        return self._logits[1]

    def embedding(self) -> Floats:
        """See Native.embedding."""
        return _view(self._library.llama_get_embeddings(self.context), self.width)

    def tokenize(self, text: bytes) -> list[int]:
        """By the file's own vocabulary, as text throughout; no NUL bytes in it.

        SentencePiece's algorithm puts a space in front.
        """
        # A token for each byte, one for the space in front, one to spare.
        room = len(text) + 2
        buffer = (ctypes.c_int * room)()
        count = self._library.llama_tokenize_with_model(self._model, text, buffer, room, False)
        return buffer[: max(count, 0)]

    def rest(self) -> None:
        """See Native.rest. The library makes threads for an evaluation, and ends them with it."""

    def close(self) -> None:
        """Free the memory; the views of the logits are gone with it."""
        if self._head:
            self._head.close()
        if self._context:
            self._library.llama_free(self._context)
        if self._model:
            self._library.llama_free_model(self._model)
        self._context = self._model = self._head = self._logits = None


def _view(pointer: Any, size: int) -> Floats:
    view = np.ctypeslib.as_array(pointer, (size,))
    view.flags.writeable = False
    return view
