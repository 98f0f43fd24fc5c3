"""The native library in xllamacpp: its only opening.

xllamacpp wraps llama.cpp's HTTP server, which tells too little of an answer (no ids and no
likelihoods of tokens inside a character), answers freely when a grammar cannot be read, counts
presence penalties over the prompt, and always listens on a port. But its extension module exports
llama.cpp's C functions, and those are called here, so that sampling, constraints and cancelling are
the same as for every other engine.

Structures grow from release to release. So of those passed by value only the first fields are
named, which have been the same for years, and behind them is more room than any release needs; the
library fills it with its own defaults first. The defaults of the named fields are compared before,
and what was set is asked back after (`native.py`): a library that lays them out differently is
refused, not misused.
"""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from functools import cache
from typing import Any

from jan_server.engines.llama_cpp.package import INSTALL, library_path
from jan_server.errors import ModelCannotRun

_ROOM = 1024


class ModelParams(ctypes.Structure):
    """The beginning of llama.h's `llama_model_params`."""

    _fields_ = (
        ("devices", ctypes.c_void_p),
        ("tensor_buft_overrides", ctypes.c_void_p),
        ("n_gpu_layers", ctypes.c_int32),
        ("split_mode", ctypes.c_int32),
        ("_rest", ctypes.c_ubyte * _ROOM),
    )


class ContextParams(ctypes.Structure):
    """The beginning of llama.h's `llama_context_params`."""

    _fields_ = (
        ("n_ctx", ctypes.c_uint32),
        ("n_batch", ctypes.c_uint32),
        ("n_ubatch", ctypes.c_uint32),
        ("n_seq_max", ctypes.c_uint32),
        ("_rest", ctypes.c_ubyte * _ROOM),
    )


class Batch(ctypes.Structure):
    """llama.h's `llama_batch`; where a pointer is null, llama.cpp works its values out."""

    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.c_void_p),
        ("n_seq_id", ctypes.c_void_p),
        ("seq_id", ctypes.c_void_p),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    )


DEFAULTS: tuple[tuple[str, dict[str, int | None]], ...] = (
    (
        "llama_model_default_params",
        {"devices": None, "tensor_buft_overrides": None, "n_gpu_layers": -1, "split_mode": 1},
    ),
    (
        "llama_context_default_params",
        {"n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1},
    ),
)

_POINTER = ctypes.c_void_p
_INT = ctypes.c_int32
_INTS = ctypes.POINTER(ctypes.c_int32)
_UNSIGNED = ctypes.c_uint32
_TEXT = ctypes.c_char_p
_BOOL = ctypes.c_bool
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "llama_backend_init": (None, []),
    "llama_log_set": (None, [_POINTER, _POINTER]),
    "llama_supports_gpu_offload": (_BOOL, []),
    "llama_model_default_params": (ModelParams, []),
    "llama_context_default_params": (ContextParams, []),
    "llama_model_load_from_file": (_POINTER, [_TEXT, ModelParams]),
    "llama_init_from_model": (_POINTER, [_POINTER, ContextParams]),
    "llama_model_free": (None, [_POINTER]),
    "llama_free": (None, [_POINTER]),
    "llama_model_has_encoder": (_BOOL, [_POINTER]),
    "llama_model_n_embd": (_INT, [_POINTER]),
    "llama_model_size": (ctypes.c_uint64, [_POINTER]),
    "llama_model_get_vocab": (_POINTER, [_POINTER]),
    "llama_n_ctx": (_UNSIGNED, [_POINTER]),
    "llama_n_batch": (_UNSIGNED, [_POINTER]),
    "llama_n_ubatch": (_UNSIGNED, [_POINTER]),
    "llama_n_seq_max": (_UNSIGNED, [_POINTER]),
    "llama_pooling_type": (ctypes.c_int, [_POINTER]),
    "llama_set_n_threads": (None, [_POINTER, _INT, _INT]),
    "llama_set_embeddings": (None, [_POINTER, _BOOL]),
    "llama_get_memory": (_POINTER, [_POINTER]),
    "llama_memory_clear": (None, [_POINTER, _BOOL]),
    "llama_memory_seq_rm": (_BOOL, [_POINTER, _INT, _INT, _INT]),
    "llama_decode": (_INT, [_POINTER, Batch]),
    "llama_get_logits_ith": (_POINTER, [_POINTER, _INT]),
    "llama_get_embeddings_ith": (_POINTER, [_POINTER, _INT]),
    "llama_get_embeddings_seq": (_POINTER, [_POINTER, _INT]),
    "llama_vocab_n_tokens": (_INT, [_POINTER]),
    "llama_vocab_bos": (_INT, [_POINTER]),
    "llama_vocab_eos": (_INT, [_POINTER]),
    "llama_vocab_get_add_bos": (_BOOL, [_POINTER]),
    "llama_vocab_get_attr": (ctypes.c_int, [_POINTER, _INT]),
    "llama_vocab_get_text": (_TEXT, [_POINTER, _INT]),
    "llama_vocab_is_eog": (_BOOL, [_POINTER, _INT]),
    "llama_token_to_piece": (_INT, [_POINTER, _INT, _POINTER, _INT, _INT, _BOOL]),
    "llama_tokenize": (_INT, [_POINTER, _TEXT, _INT, _INTS, _INT, _BOOL, _BOOL]),
}


@cache
def open_library() -> Any:
    """The loaded library, with its signatures. Raises ModelCannotRun when it cannot be used."""
    path = library_path()
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise ModelCannotRun(f"xllamacpp's library cannot be used here: {error}.") from error
    check_layout(library)
    library.llama_log_set(ctypes.cast(_LOG, _POINTER), None)
    library.llama_backend_init()
    return library


def check_layout(library: Any) -> None:
    """Raises ModelCannotRun when the parameters' defaults are not those that are known."""
    for name, expected in DEFAULTS:
        params = getattr(library, name)()
        found = {field: getattr(params, field) for field in expected}
        if found != expected:
            raise ModelCannotRun(
                f"This version of xllamacpp is not known ({name} says {found}): {INSTALL}"
            )


ERRORS: deque[str] = deque(maxlen=4)
"""llama.cpp's last errors, in its own words."""

_ERROR = 4


def _log(level: int, text: bytes, _user_data: None) -> None:
    """Errors are kept and go on to stderr; the rest is about tensors and buffers."""
    if level == _ERROR:
        line = text.decode(errors="replace")
        ERRORS.append(line.strip())
        sys.stderr.write(line)


# Kept here: a callback that Python frees is a segfault at its next call.
_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(_log)
