"""The native library of ctransformers 0.2.27 (llama.cpp of September 2023): its only import.

What is worked around here, each measured or read in its source:

- `import ctransformers` takes 0.3 s, nearly all of it for huggingface_hub, which its `hub` module
  wants. So the package is entered without running its `__init__`, and only `ctransformers.llm`,
  which has the library's signatures, is imported (12 ms).
- Left to itself it asks py-cpuinfo which build fits this processor, 1.2 s; `machine.py` knows.
- `LLM.eval` and `LLM.tokenize` keep and make lists, and the second allots too small a buffer (a
  heap overflow with 50 emoji). So the native functions are called, and `LLM` is not used.
- More tokens than the context overwrite its end without an error, and a token that the vocabulary
  does not have is a segfault: `eval` refuses both.
- A damaged file is a segfault: callers check the header before (`jan_server.gguf`, `fitting.py`).
- Two threads in one model are a segfault. ctypes frees the GIL, so callers use one thread.
"""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import sys
from collections.abc import Collection, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from jan_server.engines.ctransformers import machine
from jan_server.errors import ModelCannotRun

PACKAGE = "ctransformers"
LIBRARY_NAMES = {
    "Linux": "libctransformers.so",
    "Windows": "ctransformers.dll",
    "Darwin": "libctransformers.dylib",
}
X86_64 = frozenset({"x86_64", "amd64"})
# Best first: what each build was compiled with (ctransformers' CMakeLists.txt).
CPU_BUILDS = (("avx2", {"avx2", "fma", "f16c"}), ("avx", {"avx", "f16c"}), ("basic", set[str]()))
OTHER_ENGINE = "The optional engine `llama-cpp` (a current llama.cpp) would run it"


class Build(msgspec.Struct, frozen=True):
    """One of the libraries in the package. `note` says why it is not what was asked for."""

    name: str
    gpu_layers: int = 0
    note: str = ""

    @property
    def device(self) -> str:
        if self.name == "cuda":
            return f"cuda, {self.gpu_layers} layers"
        return f"cpu ({self.name})"


def choose_build(
    *,
    system: str,
    processor: str,
    flags: Collection[str],
    builds: Collection[str],
    gpu_layers: int,
    devices: int,
) -> Build:
    """Which library of those in the package (`builds`) to use. Raises ModelCannotRun if none is.

    The package's libraries are for x86-64, but for `basic` on a Mac, which is for both kinds. A
    `local` one is there when somebody built ctransformers from source, for that machine.
    """
    if "local" in builds:
        return Build("local", gpu_layers)
    note = ""
    if gpu_layers > 0:
        if devices and "cuda" in builds:
            return Build("cuda", gpu_layers)
        note = f"ngl is {gpu_layers}, but no NVIDIA device was found"
    if processor.lower() not in X86_64:
        if system == "Darwin" and "basic" in builds:
            return Build("basic", note=note)
        raise ModelCannotRun(
            f"ctransformers has no library for {system} on {processor}. {OTHER_ENGINE}."
        )
    for name, needed in CPU_BUILDS:
        if name in builds and needed <= set(flags):
            return Build(name, note=note)
    raise ModelCannotRun(f"ctransformers has no library for {system}. {OTHER_ENGINE}.")


def find_build(gpu_layers: int) -> Build:
    """`choose_build` for this machine."""
    system = platform.system()
    return choose_build(
        system=system,
        processor=platform.machine(),
        flags=machine.processor_flags(),
        builds=installed_builds(package_folder() / "lib", system),
        gpu_layers=gpu_layers,
        devices=machine.nvidia_devices() if gpu_layers > 0 else 0,
    )


def package_spec() -> ModuleSpec:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise ModelCannotRun("ctransformers is not installed: pip install ctransformers==0.2.27")
    return spec


def package_folder() -> Path:
    return Path(package_spec().origin or "").parent


def installed_builds(folder: Path, system: str) -> set[str]:
    name = LIBRARY_NAMES.get(system, "")
    return {place.parent.name for place in folder.glob(f"*/{name}")} if name else set()


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
    sys.modules[PACKAGE] = importlib.util.module_from_spec(package_spec())
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
