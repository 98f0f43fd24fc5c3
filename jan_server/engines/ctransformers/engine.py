"""GGUF models of the llama architecture on ctransformers: the engine itself.

A model is loaded as: read the header, decide whether it can run (`compatibility.py`), fit it where
needed (`fitting.py`), then the library, as many contexts as there are slots, and the tokenizer.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from jan_server.engines.base import ModelInfo, ModelSpec
from jan_server.engines.ctransformers import builds, library
from jan_server.engines.ctransformers.builds import Build
from jan_server.engines.ctransformers.fitting import fit
from jan_server.engines.ctransformers.library import NativeModel
from jan_server.engines.ctransformers.sizing import MOST_SLOTS, choose_context, context_bytes
from jan_server.engines.decoding.context import Context
from jan_server.engines.decoding.cores import Cores
from jan_server.engines.decoding.model import DecodedModel
from jan_server.engines.decoding.remembering import RememberingEncoder
from jan_server.engines.decoding.sizing import choose_slots, threads_of
from jan_server.engines.decoding.tokenizer import make_encoder
from jan_server.engines.decoding.vocabulary import read_vocabulary
from jan_server.errors import ModelCannotRun
from jan_server.gguf import read_header


class CTransformersEngine:
    """`base.Engine`. Where a copy has to be fitted, `prepare` takes a second for each 100 MB."""

    def prepare(self, spec: ModelSpec) -> None:
        source = Path(spec.path)
        fit(source, read_header(source), spec.work_folder)

    def load(self, spec: ModelSpec) -> DecodedModel:
        source = Path(spec.path)
        header = read_header(source)
        path = fit(source, header, spec.work_folder)
        length = choose_context(header, spec.ctx_len)
        weights, each = path.stat().st_size, context_bytes(header, length)
        slots = choose_slots(spec.slots, weights=weights, each=each, memory=spec.memory)
        slots = min(slots, MOST_SLOTS)
        vocabulary = read_vocabulary(header)
        build, loaded = open_build(spec.gpu_layers)
        cores = Cores(threads_of(spec))
        with ExitStack() as opened:
            natives = []
            for _ in range(slots):
                natives.append(
                    NativeModel(loaded, path, context_length=length, gpu_layers=build.gpu_layers)
                )
                opened.callback(natives[-1].close)
            encoder = RememberingEncoder(
                make_encoder(vocabulary, natives[0].tokenize), vocabulary.special
            )
            contexts = [Context(native, cores) for native in natives]
            for context in contexts:
                context.warm_up()
            info = ModelInfo(
                context_length=natives[0].context_length,
                chat_template=header.text("tokenizer.chat_template"),
                bos_token=vocabulary.text(vocabulary.bos),
                eos_token=vocabulary.text(vocabulary.eos),
                device=builds.described(build, cores.count),
                slots=slots,
                memory=weights + slots * each,
                embedding_length=natives[0].width,
                constrains=True,
            )
            model = DecodedModel(contexts, vocabulary, encoder, info=info, cores=cores)
            opened.pop_all()
            return model


def open_build(gpu_layers: int) -> tuple[Build, Any]:
    """The library that fits this machine: the CPU's where a GPU's does not load.

    One that computes on no GPU is given no layers for it.
    """
    build = builds.find_build(gpu_layers)
    try:
        opened = library.open_library(build)
    except ModelCannotRun as error:
        if not build.gpu_layers:
            raise
        build = msgspec.structs.replace(builds.find_build(0), note=error.message)
        return build, library.open_library(build)
    if not library.computes_on_gpus(opened):
        build = msgspec.structs.replace(build, gpu_layers=0)
    return build, opened
