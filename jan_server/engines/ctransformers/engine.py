"""GGUF models of the llama architecture on ctransformers: the engine itself.

A model is loaded as: read the header, decide whether it can run (`compatibility.py`), fit it where
needed (`fitting.py`), then the library and the tokenizer. An answer is made by our own loop:
evaluate the prompt in chunks, then sample, emit, evaluate; so a token is shown before the next is
computed, and the generator can be closed between any two.

The tokens that the library's context holds are kept as `_evaluated`, which is shortened before and
lengthened after each evaluation: whenever the generator is closed, the two agree, and the next
call reuses the longest beginning they have in common.

Not promised: the same bits for the same tokens cut into other chunks. The library adds up in
another order then (but not in its `basic` build), which can turn a token that is nearly as likely
as the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from jan_server.engines.base import (
    Event,
    Finished,
    GenerationRequest,
    ModelInfo,
    ModelSpec,
    Piece,
    Progress,
    Started,
)
from jan_server.engines.ctransformers import builds, library
from jan_server.engines.ctransformers.builds import Build
from jan_server.engines.ctransformers.fitting import fit
from jan_server.engines.ctransformers.library import NativeModel
from jan_server.engines.ctransformers.sampling import Sampler
from jan_server.engines.ctransformers.tokenizer import TextEncoder, make_encoder, with_bos
from jan_server.engines.ctransformers.vocabulary import Vocabulary, read_vocabulary
from jan_server.engines.text import TextStream
from jan_server.errors import ContextLengthExceeded, InvalidRequest, ModelCannotRun
from jan_server.gguf import Header, read_header

DEFAULT_CONTEXT = 4096
# Fastest at 32 to 128 tokens, and a cancelled request ends within one chunk (0.4 s at 64).
CHUNK_TOKENS = 64


class CTransformersEngine:
    """`base.Engine`. Where a copy has to be fitted, `prepare` takes a second for each 100 MB."""

    def prepare(self, spec: ModelSpec) -> None:
        source = Path(spec.path)
        fit(source, read_header(source), spec.work_folder)

    def load(self, spec: ModelSpec) -> LlamaModel:
        source = Path(spec.path)
        header = read_header(source)
        path = fit(source, header, spec.work_folder)
        context = choose_context(header, spec.ctx_len)
        vocabulary = read_vocabulary(header)
        build, native = open_model(path, context, spec.gpu_layers)
        try:
            encoder = make_encoder(vocabulary, native.tokenize)
        except BaseException:
            native.close()
            raise
        threads = builds.threads_of(spec)
        info = ModelInfo(
            context_length=native.context_length,
            chat_template=header.text("tokenizer.chat_template"),
            bos_token=vocabulary.text(vocabulary.bos),
            eos_token=vocabulary.text(vocabulary.eos),
            device=builds.described(build, threads),
        )
        return LlamaModel(native, vocabulary, encoder, info=info, threads=threads)


def open_model(path: Path, context: int, gpu_layers: int) -> tuple[Build, NativeModel]:
    """The model in the library that fits this machine: the CPU's where a GPU's does not load."""
    build = builds.find_build(gpu_layers)
    try:
        loaded = library.open_library(build)
    except ModelCannotRun as error:
        if not build.gpu_layers:
            raise
        build = msgspec.structs.replace(builds.find_build(0), note=error.message)
        loaded = library.open_library(build)
    return build, NativeModel(loaded, path, context_length=context, gpu_layers=build.gpu_layers)


def choose_context(header: Header, asked: int | None) -> int:
    """Tokens that the context holds: what is asked for, but never more than the model knows."""
    known = header.integer("llama.context_length") or DEFAULT_CONTEXT
    if asked is None:
        return min(known, DEFAULT_CONTEXT)
    if asked < 1:
        raise ModelCannotRun(f"ctx_len is {asked}; it is a number of tokens.")
    return min(known, asked)


class LlamaModel:
    """`base.LoadedModel`."""

    def __init__(
        self,
        native: NativeModel,
        vocabulary: Vocabulary,
        encoder: TextEncoder,
        *,
        info: ModelInfo,
        threads: int,
    ) -> None:
        self.info = info
        self._native = native
        self._vocabulary = vocabulary
        self._encoder = encoder
        self._threads = threads
        self._evaluated: list[int] = []

    def __repr__(self) -> str:
        return f"<LlamaModel {self._native!r}, {len(self._evaluated)} tokens evaluated>"

    def generate(self, request: GenerationRequest) -> Iterator[Event]:
        ids = self._tokenize(request.prompt)
        if len(ids) >= self.info.context_length:
            raise ContextLengthExceeded(len(ids), self.info.context_length)
        cached = common_prefix(self._evaluated, ids[:-1]) if request.cache_prompt else 0
        yield Started(len(ids), cached)
        del self._evaluated[cached:]
        for start in range(cached, len(ids), CHUNK_TOKENS):
            self._evaluate(ids[start : start + CHUNK_TOKENS])
            yield Progress(len(self._evaluated))
        yield from self._answer(request, room=self.info.context_length - len(ids))

    def close(self) -> None:
        self._native.close()

    def _tokenize(self, prompt: str) -> list[int]:
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest("The prompt has half a surrogate pair in it.") from error
        ids = with_bos(self._encoder.encode(prompt), self._vocabulary)
        if not ids:
            raise InvalidRequest("The prompt is empty.")
        return ids

    def _evaluate(self, tokens: list[int]) -> None:
        # In this order: whatever happens, the library holds at least what the list says.
        self._native.eval(tokens, n_past=len(self._evaluated), threads=self._threads)
        self._evaluated += tokens

    def _answer(self, request: GenerationRequest, *, room: int) -> Iterator[Event]:
        """Sample, emit, evaluate. The tokens that end an answer are counted, as llama.cpp does."""
        sampler = Sampler(request)
        stream = TextStream(request.stop)
        room = min(room, request.max_tokens)
        count = unseen = 0
        ended = False
        while count < room and not ended:
            token = sampler.choose(self._native.logits(), self._evaluated)
            count += 1
            unseen += 1
            if token in self._vocabulary.ends:
                ended = True
            elif text := stream.push(self._vocabulary.piece(token)):
                yield Piece(text, unseen)
                unseen = 0
            ended = ended or stream.stopped
            if count < room and not ended:
                self._evaluate([token])
        if text := stream.finish():
            yield Piece(text, unseen)
        yield Finished("stop" if ended or stream.stopped else "length", count)


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens the two begin with in common."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))
