"""llama.cpp does what every engine must, with the architectures that ctransformers refuses too."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jan_server import engines
from jan_server.engines import machine
from jan_server.engines.base import (
    Finished,
    GenerationRequest,
    LoadedModel,
    ModelInfo,
    Piece,
    Progress,
    Started,
)
from jan_server.engines.llama_cpp.engine import LlamaCppEngine
from jan_server.engines.llama_cpp.library import open_library
from jan_server.engines.llama_cpp.native import POOLED_LAST, NativeContext
from jan_server.errors import ModelCannotRun
from tests.engines.contract import ConstraintContract, EmbeddingContract, EngineContract
from tests.engines.llama_cpp.conftest import spec_of
from tests.engines.mapped import mapped
from tests.tiny_gguf import CHATML, write_tiny_gguf

PROMPT = "<|im_start|>user\nHello world, what is the capital of France<|im_end|>\n"


class LlamaCppContract(EngineContract, EmbeddingContract, ConstraintContract):
    kind: str
    prompt = PROMPT

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, tiny: Callable[[str], Path]) -> Iterator[LoadedModel]:
        with closing(LlamaCppEngine().load(spec_of(tiny(cls.kind)))) as model:
            yield model


class TestLlama(LlamaCppContract):
    kind = "llama spm"


class TestQwen2(LlamaCppContract):
    kind = "qwen2 bpe"


class TestMamba(LlamaCppContract):
    kind = "mamba bpe"


class TestPooled(EmbeddingContract):
    """A chat model whose file says that its last token's state is its embedding."""

    prompt = PROMPT

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, tiny_folder: Path) -> Iterator[LoadedModel]:
        path = write_tiny_gguf(
            tiny_folder / "pooled.gguf", extra_metadata={"llama.pooling_type": POOLED_LAST}
        )
        with closing(LlamaCppEngine().load(spec_of(path))) as model:
            yield model


def test_a_model_says_what_its_file_says(tmp_path: Path):
    path = write_tiny_gguf(tmp_path / "m.gguf", architecture="qwen2", context_length=512)
    spec = spec_of(path, ctx_len=None, slots=None)
    LlamaCppEngine().prepare(spec)
    with closing(LlamaCppEngine().load(spec)) as model:
        info = model.info
    assert info == ModelInfo(
        context_length=512,
        chat_template=CHATML,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        device="cpu, 1 threads",
        slots=1,
        memory=info.memory,
        embedding_length=64,
        constrains=True,
    )
    assert info.memory > path.stat().st_size / 2


def test_there_are_as_many_slots_as_there_is_memory_for(tmp_path: Path):
    path = write_tiny_gguf(tmp_path / "m.gguf")
    spec = spec_of(path, slots=None)
    slots = []
    for memory in (0, 1 << 40):
        with closing(LlamaCppEngine().load(msgspec.structs.replace(spec, memory=memory))) as model:
            slots.append(model.info.slots)
    assert slots == [1, 4]


def test_every_slot_is_warm_before_the_first_prompt_with_as_many_threads_as_told(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
):
    evaluated: list[tuple[int, int]] = []
    evaluate = NativeContext.eval

    def watched(context: NativeContext, tokens: Sequence[int], *, threads: int, **how: Any) -> None:
        evaluated.append((id(context), threads))
        evaluate(context, tokens, threads=threads, **how)

    monkeypatch.setattr(NativeContext, "eval", watched)
    monkeypatch.setattr(machine, "usable_cpus", lambda: {0, 1})
    spec = msgspec.structs.replace(spec_of(tiny("llama bpe"), slots=3), threads=2)
    with closing(LlamaCppEngine().load(spec)) as model:
        assert len({context for context, _ in evaluated}) == model.info.slots == 3
        assert {threads for _, threads in evaluated} == {2}


@pytest.mark.parametrize(("kind", "cached"), [("llama bpe", 90), ("mamba bpe", 0)])
def test_what_a_slot_cannot_keep_is_not_called_cached_and_read_in_chunks(
    tiny: Callable[[str], Path], kind: str, cached: int
):
    prompt = [(number * 37) % 400 + 60 for number in range(100)]
    request = GenerationRequest(prompt="", temperature=0.0, max_tokens=0)
    with closing(LlamaCppEngine().load(spec_of(tiny(kind)))) as model:
        list(model.generate(prompt, request))
        started, *events = model.generate([*prompt[:90], *prompt[50:60]], request)
    assert started == Started(cached)
    ends = [64, 100] if cached == 0 else [100]
    assert events[:-1] == [Progress(end) for end in ends]


def test_whoever_computed_lets_go_of_the_threads_that_helped(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
):
    """Kept, they would slow down whoever computes next."""
    pauses: list[int] = []
    library = open_library()
    pause = library.omp_pause_resource_all

    def watched(kind: int) -> None:
        assert pause(kind) == 0
        pauses.append(threading.get_ident())

    monkeypatch.setattr(library, "omp_pause_resource_all", watched)
    request = GenerationRequest(prompt="", temperature=0.0, max_tokens=2)
    with closing(LlamaCppEngine().load(spec_of(tiny("llama bpe"), slots=2))) as model:
        assert pauses == [threading.get_ident()] * 2
        answering = threading.Thread(target=lambda: list(model.generate([5, 6], request, slot=1)))
        answering.start()
        answering.join()
        # When the answer is out, and after what comes then.
        assert pauses[2:] == [answering.ident] * 2
        next(iter(model.embed([5, 6], slot=0)))
    assert len(pauses) == 5


def test_as_many_layers_as_told_go_to_the_gpu(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
):
    library, layers = open_library(), []
    load = library.llama_model_load_from_file

    def watched(path: bytes, params: Any) -> Any:
        layers.append(params.n_gpu_layers)
        return load(path, params)

    monkeypatch.setattr(library, "llama_model_load_from_file", watched)
    spec = msgspec.structs.replace(spec_of(tiny("llama bpe")), gpu_layers=1)
    LlamaCppEngine().load(spec).close()
    assert layers == [1]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is mapped")
def test_all_slots_have_the_same_mapped_weights(tmp_path: Path):
    path = write_tiny_gguf(tmp_path / "m.gguf")
    with closing(LlamaCppEngine().load(spec_of(path, slots=3))):
        assert len(mapped(path)) == 1


def test_a_text_begins_with_the_token_that_the_model_wants(tmp_path: Path):
    path = write_tiny_gguf(tmp_path / "m.gguf", vocabulary="spm", add_bos=True)
    with closing(LlamaCppEngine().load(spec_of(path))) as model:
        plain = model.tokenize("Hello", bos=False)
        assert model.tokenize("Hello") == [1, *plain]
        assert model.tokenize("<s>Hello") == model.tokenize("<s>Hello", bos=False)


def test_an_answer_ends_with_any_token_that_ends_one(tmp_path: Path):
    with closing(LlamaCppEngine().load(spec_of(write_tiny_gguf(tmp_path / "m.gguf")))) as model:
        [end] = model.tokenize("<|endoftext|>")
        request = GenerationRequest(prompt=(5,), temperature=0, logit_bias={end: 1000.0})
        events = list(model.generate([5], request))
    assert not [event for event in events if isinstance(event, Piece)]
    assert isinstance(finished := events[-1], Finished)
    assert (finished.reason, finished.completion_tokens) == ("stop", 1)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "damaged": (lambda path: path.write_bytes(write_tiny_gguf(path).read_bytes()[:-1000]), "cut"),
    "architecture": (lambda path: write_tiny_gguf(path, architecture="llama9"), "llama9"),
    "pooling": (
        lambda path: write_tiny_gguf(path, extra_metadata={"llama.pooling_type": 1}),
        "embeddings alone",
    ),
    "no file": (lambda path: None, "cannot be read"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_cannot_run_is_refused_with_the_reason(tmp_path: Path, what: str):
    make, reason = BROKEN[what]
    make(tmp_path / "m.gguf")
    with pytest.raises(ModelCannotRun, match=reason):
        LlamaCppEngine().load(spec_of(tmp_path / "m.gguf"))


def test_a_model_with_an_encoder_is_refused(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(open_library(), "llama_model_has_encoder", lambda model: True)
    with pytest.raises(ModelCannotRun, match="reads with an encoder"):
        LlamaCppEngine().load(spec_of(tiny("llama bpe")))


def test_a_context_of_no_tokens_is_refused(tmp_path: Path):
    path = write_tiny_gguf(tmp_path / "m.gguf")
    with pytest.raises(ModelCannotRun, match="ctx_len is 0"):
        LlamaCppEngine().load(spec_of(path, ctx_len=0))


def test_without_the_package_the_engine_names_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ModelCannotRun, match=re.escape('pip install "jan-server[llama-cpp]"')):
        engines.resolve("llama-cpp")
