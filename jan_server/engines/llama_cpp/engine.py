"""GGUF models of every architecture on a current llama.cpp: the engine itself.

The library is driven as ctransformers' is: our own loop evaluates and samples, and each slot is a
context of its own over the same weights. So all parameters mean the same. A seeded answer comes out
the same when nothing else runs (`native.py` says why).
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from jan_server.engines.base import ModelInfo, ModelSpec
from jan_server.engines.decoding.context import Context
from jan_server.engines.decoding.cores import Cores
from jan_server.engines.decoding.model import DecodedModel
from jan_server.engines.decoding.sizing import choose_slots, threads_of
from jan_server.engines.llama_cpp import package
from jan_server.engines.llama_cpp.library import open_library
from jan_server.engines.llama_cpp.native import NativeContext, NativeModel
from jan_server.engines.llama_cpp.sizing import choose_context, context_bytes
from jan_server.engines.llama_cpp.vocabulary import NativeEncoder, read_vocabulary
from jan_server.errors import ModelCannotRun
from jan_server.gguf import Header, parts_of, read_header


class LlamaCppEngine:
    """`base.Engine`. A file is used as it is: there is nothing to prepare but a look at it."""

    def __init__(self) -> None:
        """Raises ModelCannotRun when xllamacpp is not installed."""
        package.library_path()

    def prepare(self, spec: ModelSpec) -> None:
        _read_headers(spec.path)

    def load(self, spec: ModelSpec) -> DecodedModel:
        # It also refuses a damaged file, which llama.cpp answers with a segfault.
        header = _read_headers(spec.path)
        length = choose_context(header, spec.ctx_len)
        with ExitStack() as opened:
            native = NativeModel(open_library(), Path(spec.path), gpu_layers=spec.gpu_layers)
            opened.callback(native.close)
            if native.has_encoder:
                raise ModelCannotRun(f"{native.name} reads with an encoder: no chat model.")
            each = context_bytes(header, length)
            slots = choose_slots(spec.slots, weights=native.bytes, each=each, memory=spec.memory)
            vocabulary = read_vocabulary(native, header)
            cores = Cores(threads_of(spec))
            contexts = []
            for _ in range(slots):
                context = NativeContext(native, context_length=length)
                opened.callback(context.close)
                contexts.append(Context(context, cores))
                contexts[-1].warm_up()
            info = ModelInfo(
                context_length=length,
                chat_template=header.text("tokenizer.chat_template"),
                bos_token=vocabulary.text(vocabulary.bos),
                eos_token=vocabulary.text(vocabulary.eos),
                device=package.described("gpu" if native.on_gpu else "cpu", spec),
                slots=slots,
                memory=native.bytes + slots * each,
                embedding_length=native.width,
                constrains=True,
            )
            model = DecodedModel(
                contexts, vocabulary, NativeEncoder(native), info=info, cores=cores
            )
            opened.pop_all()
            return model


def _read_headers(path: str) -> Header:
    """Of a file, or of all parts of a split model; the first one's. Raises ModelCannotRun."""
    header = read_header(path)
    for part in parts_of(Path(path))[1:]:
        read_header(part)
    return header
