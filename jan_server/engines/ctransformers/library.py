"""The native library of ctransformers 0.2.27 (llama.cpp of September 2023): its only import.

What is worked around here, each measured or read in its source:

- `import ctransformers` takes 0.3 s, nearly all of it for huggingface_hub, which its `hub` module
  wants. So the package is entered without running its `__init__`, and only `ctransformers.llm`,
  which has the library's signatures, is imported (12 ms).
- Left to itself it asks py-cpuinfo which build fits this processor, 1.2 s; `builds.py` knows.
- `LLM.eval` and `LLM.tokenize` keep and make lists, and the second allots too small a buffer (a
  heap overflow with 50 emoji). So the native functions are called, and `LLM` is not used.
- More tokens than the context overwrite its end without an error, and a token that the vocabulary
  does not have is a segfault: `eval` refuses both.
- A damaged file is a segfault: callers check the header before (`jan_server.gguf`, `fitting.py`).
- Two threads in one model are a segfault. ctypes frees the GIL, so callers use one thread.
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
from numpy.typing import NDArray

from jan_server.engines.ctransformers.builds import OTHER_ENGINE, PACKAGE, Build, package_spec
from jan_server.errors import ModelCannotRun


def open_library(build: Build) -> Any:
    """The loaded library, with its signatures. Raises ModelCannotRun when it does not load."""
    try:
        return _import_llm().load_library(build.name, gpu=build.gpu_layers > 0)
    except OSError as error:
        raise ModelCannotRun(
            f"ctransformers' {build.name} library does not load here: {error}. {OTHER_ENGINE}."
        ) from error


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


class NativeModel:
    """A model in the library's memory. One thread only; `close` frees it.

    It keeps no list of what is evaluated: the caller says with `n_past` how much of the context
    stays, and everything behind it is overwritten.
    """

    def __init__(self, library: Any, path: Path, *, context_length: int, gpu_layers: int) -> None:
        """Raises ModelCannotRun when the library refuses the file; why is on stderr."""
        config = _import_llm().ConfigStruct(
            context_length=context_length, gpu_layers=gpu_layers, mmap=True, mlock=False
        )
        self._library = library
        self._model = library.ctransformers_llm_create(str(path).encode(), b"gguf", config)
        if not self._model:
            raise ModelCannotRun(f"ctransformers refuses {path.name}. {OTHER_ENGINE}.")
        self.context_length: int = library.ctransformers_llm_context_length(self._model)
        self.vocabulary_size: int = library.ctransformers_llm_vocab_size(self._model)
        self._logits: tuple[int, NDArray[np.float32]] | None = None

    def __repr__(self) -> str:
        state = "open" if self._model else "closed"
        return f"<NativeModel {state}, context {self.context_length}>"

    def eval(self, tokens: Sequence[int], *, n_past: int, threads: int) -> None:
        """Evaluate `tokens` behind the first `n_past` of the context."""
        count = len(tokens)
        if not self._model or not 0 < count <= self.context_length - n_past:
            raise ValueError(f"{count} tokens after {n_past} cannot be evaluated by {self!r}")
        if min(tokens) < 0 or max(tokens) >= self.vocabulary_size:
            raise ValueError(f"tokens are numbers below {self.vocabulary_size}")
        array = (ctypes.c_int * count)(*tokens)
        if not self._library.ctransformers_llm_batch_eval(
            self._model, array, count, n_past, count, threads
        ):
            raise RuntimeError(f"ctransformers could not evaluate {count} tokens after {n_past}")

    def logits(self) -> NDArray[np.float32]:
        """Those of the last token evaluated: a view, overwritten by the next `eval`, read only.

        Its size is 0 until something was evaluated, so it is asked for then.
        """
        pointer = self._library.ctransformers_llm_logits_data(self._model)
        address = ctypes.addressof(pointer.contents)
        if self._logits is None or self._logits[0] != address:
            size = self._library.ctransformers_llm_logits_size(self._model)
            view = np.ctypeslib.as_array(pointer, (size,))[-self.vocabulary_size :]
            view.flags.writeable = False
            self._logits = address, view
        return self._logits[1]

    def tokenize(self, text: bytes) -> list[int]:
        """By the file's own vocabulary, as text throughout; no NUL bytes in it.

        SentencePiece's algorithm puts a space in front.
        """
        # A token for each byte, one for the space in front, one to spare.
        buffer = (ctypes.c_int * (len(text) + 2))()
        count = self._library.ctransformers_llm_tokenize(self._model, text, False, buffer)
        return buffer[:count]

    def close(self) -> None:
        """Free the memory; the views of the logits are gone with it."""
        if self._model:
            self._logits = None
            self._library.ctransformers_llm_delete(self._model)
            self._model = None
