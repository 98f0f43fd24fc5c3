"""The whole engine, with real native code and tiny models that the tests make."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from jan_server.engines.base import (
    Event,
    Finished,
    GenerationRequest,
    LoadedModel,
    ModelInfo,
    ModelSpec,
    Piece,
    Progress,
    Started,
)
from jan_server.engines.ctransformers import builds, machine
from jan_server.engines.ctransformers import engine as engine_module
from jan_server.engines.ctransformers.engine import CTransformersEngine, LlamaModel, common_prefix
from jan_server.engines.ctransformers.library import Build
from jan_server.engines.ctransformers.vocabulary import read_vocabulary
from jan_server.errors import InvalidRequest, ModelCannotRun
from jan_server.gguf import read_header
from tests.engines.contract import EngineContract, text_of
from tests.engines.ctransformers.conftest import spec_of
from tests.tiny_gguf import CHATML, write_tiny_gguf

Load = Callable[[ModelSpec], LlamaModel]
Tiny = Callable[[str], ModelSpec]

KINDS = ["bpe tied", "bpe untied", "spm tied", "spm untied"]


class TinyContract(EngineContract):
    kind: ClassVar[str]
    prompt = "<|im_start|>user\nHello world, what is the time?<|im_end|>\n<|im_start|>assistant\n"

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, tiny: Tiny) -> Iterator[LoadedModel]:
        loaded = CTransformersEngine().load(tiny(cls.kind))
        yield loaded
        loaded.close()


class TestTiedBpe(TinyContract):
    kind = "bpe tied"


class TestUntiedBpe(TinyContract):
    kind = "bpe untied"


class TestTiedSpm(TinyContract):
    kind = "spm tied"


class TestUntiedSpm(TinyContract):
    kind = "spm untied"


def events_of(model: LlamaModel, prompt: str, **values: Any) -> list[Event]:
    plain = {"temperature": 0.0, "max_tokens": 8}
    return list(model.generate(GenerationRequest(prompt=prompt, **(plain | values))))


LONG = " the of and to in is that it was for" * 8  # 80 tokens of the tiny BPE vocabulary


def test_a_loaded_model_says_what_its_file_says(tiny: Tiny, load: Load) -> None:
    assert load(tiny("bpe tied")).info == ModelInfo(
        context_length=256,
        chat_template=CHATML,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        device=f"cpu ({builds.find_build(0).name}), 1 threads",
    )


def test_threads_are_those_of_the_machine_unless_told(tiny: Tiny, load: Load) -> None:
    spec = tiny("spm untied")
    model = load(ModelSpec(id="tiny", engine="ctransformers", path=spec.path))
    assert model.info.device.endswith(f", {machine.physical_cores()} threads")
    assert "closed" not in repr(model)


@pytest.mark.parametrize(("asked", "given"), [(None, 256), (64, 64), (100_000, 256)])
def test_the_context_is_what_was_asked_for_and_never_more_than_the_models(
    tiny: Tiny, load: Load, asked: int | None, given: int
) -> None:
    spec = spec_of(Path(tiny("spm untied").path), ctx_len=asked)
    assert load(spec).info.context_length == given


def test_a_context_of_nothing_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ModelCannotRun, match="ctx_len is 0"):
        CTransformersEngine().load(spec_of(Path(tiny("spm untied").path), ctx_len=0))


def test_the_prompt_is_evaluated_in_chunks_and_its_beginning_reused(tiny: Tiny, load: Load) -> None:
    model = load(tiny("bpe tied"))
    assert events_of(model, LONG, max_tokens=0) == [
        Started(80, 0),
        Progress(64),
        Progress(80),
        Finished("length", 0),
    ]
    assert events_of(model, LONG, max_tokens=0)[:2] == [Started(80, 79), Progress(80)]
    assert events_of(model, LONG + " on", max_tokens=0)[:2] == [Started(81, 80), Progress(81)]
    assert events_of(model, LONG, max_tokens=0, cache_prompt=False)[:2] == [
        Started(80, 0),
        Progress(64),
    ]


def test_the_answer_is_reused_by_the_next_turn(tiny: Tiny, load: Load) -> None:
    model = load(tiny("bpe tied"))
    prompt = "<|im_start|>user\nHello world<|im_end|>\n"
    first = events_of(model, prompt)
    second = events_of(model, prompt + text_of(first) + "<|im_end|>\n", max_tokens=1)[0]
    assert isinstance(first[0], Started)
    assert isinstance(second, Started)
    assert second.cached_tokens >= first[0].prompt_tokens


@pytest.mark.parametrize("taken", range(1, 7))
def test_after_a_cancel_the_next_answer_is_that_of_a_fresh_model(
    tiny: Tiny, load: Load, taken: int
) -> None:
    fresh = events_of(load(tiny("bpe untied")), LONG + " people", cache_prompt=False)
    model = load(tiny("bpe untied"))
    events = iter(model.generate(GenerationRequest(prompt=LONG * 2, temperature=0, max_tokens=4)))
    for _ in range(taken):
        next(events)
    events.close()  # type: ignore[attr-defined]  # a generator, as the protocol promises
    assert text_of(events_of(model, LONG + " people")) == text_of(fresh)


def test_the_end_token_ends_the_answer_and_is_not_shown(
    tiny: Tiny, load: Load, tmp_path: Path
) -> None:
    first = events_of(load(tiny("bpe tied")), " time")[2]
    assert isinstance(first, Piece)
    vocabulary = read_vocabulary(read_header(tiny("bpe tied").path))
    end = [*map(vocabulary.piece, range(len(vocabulary.tokens)))].index(first.text.encode())
    path = write_tiny_gguf(
        tmp_path / "ends.gguf", extra_metadata={"tokenizer.ggml.eot_token_id": end}
    )
    events = events_of(load(spec_of(path)), " time")
    assert events == [Started(1, 0), Progress(1), Finished("stop", 1)]


def test_penalties_change_the_answer(tiny: Tiny, load: Load) -> None:
    model = load(tiny("bpe tied"))
    texts = {
        text_of(events_of(model, LONG, max_tokens=40, **values))
        for values in ({}, {"repeat_penalty": 2.0}, {"presence_penalty": 2.0})
    }
    assert len(texts) == 3


def test_sampled_answers_differ_by_seed(tiny: Tiny, load: Load) -> None:
    model = load(tiny("spm untied"))
    texts = [text_of(events_of(model, LONG, temperature=1.0, seed=seed)) for seed in (1, 2, 1)]
    assert texts[0] == texts[2] != texts[1]


def test_bos_is_put_in_front_once(load: Load, tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "bos.gguf", vocabulary="spm", tied=False, add_bos=True)
    model = load(spec_of(path))
    counts = [events_of(model, prompt, max_tokens=0)[0] for prompt in ("the", "<s>the", "")]
    assert counts == [Started(2, 0), Started(2, 1), Started(1, 0)]


@pytest.mark.parametrize(
    ("prompt", "reason"), [("", "The prompt is empty"), ("a\ud83d", "half a surrogate pair")]
)
def test_prompts_that_are_no_text_are_refused(
    tiny: Tiny, load: Load, prompt: str, reason: str
) -> None:
    for kind in ("bpe tied", "spm untied"):
        with pytest.raises(InvalidRequest, match=reason):
            events_of(load(tiny(kind)), prompt)


def cut_short(path: Path) -> None:
    path.write_bytes(write_tiny_gguf(path).read_bytes()[:-1000])


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut short": (cut_short, "cut short at"),
    "random": (lambda path: path.write_bytes(b"\x91\x00\x07" * 500), "not a GGUF file"),
    "text": (lambda path: path.write_text("Dear reader, " * 99), "it is text"),
    "missing": (lambda path: None, "No such file"),
    "architecture": (lambda path: write_tiny_gguf(path, architecture="qwen2"), "'qwen2'"),
    "pre": (lambda path: write_tiny_gguf(path, pre="tekken"), "is 'tekken'"),
    "biases": (
        lambda path: write_tiny_gguf(path, extra_tensors={"blk.0.attn_q.bias": (64,)}),
        r"the tensor blk\.0\.attn_q\.bias",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_files_that_cannot_run_are_refused_by_prepare_and_load(kind: str, tmp_path: Path) -> None:
    make, reason = REFUSED[kind]
    make(tmp_path / "model.gguf")
    engine = CTransformersEngine()
    for call in (engine.prepare, engine.load):
        with pytest.raises(ModelCannotRun, match=reason):
            call(spec_of(tmp_path / "model.gguf"))
    assert not (tmp_path / "fitted").exists()


def test_without_an_nvidia_device_the_cpu_computes_and_says_so(tiny: Tiny, load: Load) -> None:
    spec = tiny("spm untied")
    model = load(ModelSpec(id="t", engine="c", path=spec.path, gpu_layers=9, threads=1))
    assert model.info.device.endswith("1 threads (ngl is 9, but no NVIDIA device was found)")


def test_where_the_gpu_library_does_not_load_the_cpu_computes_and_says_so(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = builds.find_build
    monkeypatch.setattr(
        builds, "find_build", lambda layers: Build("missing", layers) if layers else find(0)
    )
    build, native = engine_module.open_model(Path(tiny("spm untied").path), 64, 9)
    native.close()
    assert build.gpu_layers == 0
    assert build.note.startswith("ctransformers' missing library does not load here: ")


def test_where_no_library_loads_the_model_is_refused(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "find_build", lambda layers: Build("missing"))
    with pytest.raises(ModelCannotRun, match="missing library does not load"):
        CTransformersEngine().load(tiny("spm untied"))


def test_damaged_merges_are_refused(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    data, merge = path.read_bytes(), "Ġ t".encode()
    assert merge in data
    path.write_bytes(data.replace(merge, "Ġ ~".encode(), 1))
    with pytest.raises(ModelCannotRun, match="merges of its vocabulary are damaged"):
        CTransformersEngine().load(spec_of(path))


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [([], [], 0), ([1], [], 0), ([1, 2], [1, 2], 2), ([1, 2, 3], [1, 2], 2), ([1, 2], [1, 3], 1)],
)
def test_common_prefix(first: list[int], second: list[int], common: int) -> None:
    assert common_prefix(first, second) == common


def test_the_engine_imports_nothing_that_takes_long(tiny: Tiny) -> None:
    """huggingface_hub, py-cpuinfo and the gguf package (only for fitting) cost 0.3, 1.2, 0.1 s."""
    CTransformersEngine().prepare(tiny("bpe tied"))
    spec = tiny("bpe tied")
    script = f"""
import sys
from jan_server.engines.base import ModelSpec
from jan_server.engines.ctransformers.engine import CTransformersEngine
CTransformersEngine().load(ModelSpec(
    id="t", engine="c", path={spec.path!r}, work_folder={spec.work_folder!r})).close()
slow = {{"huggingface_hub", "cpuinfo", "gguf", "transformers"}} & set(sys.modules)
assert not slow, slow
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.model
def test_smollm2_knows_the_capital_of_france(
    smollm2_path: Path, load: Load, tmp_path: Path
) -> None:
    fitted = str(tmp_path / "fitted")
    # One thread: two would wait for each other where the tests share their cores.
    model = load(
        ModelSpec(id="s", engine="c", path=str(smollm2_path), work_folder=fitted, threads=1)
    )
    prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    events = events_of(model, prompt, max_tokens=64)
    assert text_of(events) == "The capital of France is Paris."
    assert (events[0], events[-1]) == (Started(16, 0), Finished("stop", 8))
