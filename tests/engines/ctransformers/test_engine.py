"""The whole engine, with real native code and tiny models that the tests make."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from jan_server.engines import machine
from jan_server.engines.base import (
    Constraint,
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
from jan_server.engines.ctransformers import builds, library
from jan_server.engines.ctransformers import engine as engine_module
from jan_server.engines.ctransformers.builds import Build
from jan_server.engines.ctransformers.engine import CTransformersEngine
from jan_server.engines.ctransformers.fitting import fit
from jan_server.engines.ctransformers.sizing import MOST_SLOTS, context_bytes
from jan_server.engines.decoding import cores
from jan_server.engines.decoding.context import Context
from jan_server.engines.decoding.model import DecodedModel
from jan_server.engines.decoding.vocabulary import read_vocabulary
from jan_server.errors import InvalidRequest, ModelCannotRun
from jan_server.gguf import read_header
from tests.engines.contract import (
    ConstraintContract,
    EmbeddingContract,
    EngineContract,
    text_of,
)
from tests.engines.ctransformers.conftest import Changed, spec_of
from tests.tiny_gguf import CHATML, write_tiny_gguf

Load = Callable[[ModelSpec], DecodedModel]
Tiny = Callable[[str], ModelSpec]

KINDS = ["bpe tied", "bpe untied", "spm tied", "spm untied"]


class TinyContract(EngineContract, EmbeddingContract, ConstraintContract):
    kind: ClassVar[str]
    prompt = "<|im_start|>user\nHello world, what is the time?<|im_end|>\n<|im_start|>assistant\n"

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, tiny: Tiny) -> Iterator[LoadedModel]:
        spec = msgspec.structs.replace(tiny(cls.kind), slots=2)
        loaded = CTransformersEngine().load(spec)
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


def events_of(model: DecodedModel, prompt: str, **values: Any) -> list[Event]:
    plain = {"temperature": 0.0, "max_tokens": 8}
    request = GenerationRequest(prompt=prompt, **(plain | values))
    return list(model.generate(model.tokenize(prompt), request))


Q = 83
"""The token of that letter."""

LONG = " the of and to in is that it was for" * 8  # 80 tokens of the tiny BPE vocabulary


def test_a_loaded_model_says_what_its_file_says(tiny: Tiny, load: Load) -> None:
    spec = tiny("bpe tied")
    model = load(spec)
    fitted = fit(Path(spec.path), read_header(spec.path), spec.work_folder)
    assert model.info == ModelInfo(
        context_length=256,
        chat_template=CHATML,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        device=f"cpu ({builds.find_build(0).name}), 1 threads",
        memory=fitted.stat().st_size + context_bytes(read_header(fitted), 256),
        embedding_length=64,
        constrains=True,
    )


def test_threads_are_those_of_the_machine_unless_told(tiny: Tiny, load: Load) -> None:
    spec = tiny("spm untied")
    model = load(ModelSpec(id="tiny", engine="ctransformers", path=spec.path))
    assert model.info.device.endswith(f", {machine.physical_cores()} threads")
    assert "closed" not in repr(model)


def test_there_are_no_more_slots_than_the_library_has_room_for(tiny: Tiny, load: Load) -> None:
    model = load(msgspec.structs.replace(tiny("bpe tied"), slots=64))
    assert model.info.slots == MOST_SLOTS
    tokens = model.tokenize("the time")
    request = GenerationRequest(prompt="", temperature=0.0, max_tokens=4)
    texts = {text_of(model.generate(tokens, request, slot=n)) for n in range(MOST_SLOTS)}
    assert len(texts) == 1


def test_tokens_that_show_nothing_can_be_heard_of_and_cancelled(tiny: Tiny, load: Load) -> None:
    model = load(tiny("bpe tied"))
    [control] = model.tokenize("<|im_start|>")
    silent = {"logit_bias": {control: 100.0}, "ignore_eos": True, "max_tokens": 5}
    *events, finished = events_of(model, "the time", **silent)
    read = len(model.tokenize("the time"))
    assert events == [Started(0), *[Progress(read)] * 6]
    assert isinstance(finished, Finished)
    begun = iter(model.generate([5, 6], GenerationRequest(prompt="", **silent)))
    for _ in range(4):
        next(begun)
    begun.close()
    assert [*model.held(0)] == [5, 6, control]


def test_what_an_answer_ends_with_is_evaluated_when_it_is_out(tiny: Tiny, load: Load) -> None:
    model = load(tiny("bpe tied"))
    tokens = model.tokenize("the time")
    for max_tokens, is_kept in ((3, True), (3, False), (1, True)):
        request = GenerationRequest(
            prompt="", temperature=0.0, max_tokens=max_tokens, cache_prompt=is_kept
        )
        events = iter(model.generate(tokens, request))
        while not isinstance(next(events), Finished):
            pass
        held = [*model.held(0)]
        assert len(held) == len(tokens) + max_tokens - 1
        assert next(events, None) is None
        assert [*model.held(0)][: len(held)] == held
        assert len(model.held(0)) == len(held) + is_kept


def test_there_are_as_many_slots_as_there_is_memory_for(tiny: Tiny, load: Load) -> None:
    spec = tiny("spm untied")
    one = load(msgspec.structs.replace(spec, slots=1)).info.memory
    two = load(msgspec.structs.replace(spec, slots=2)).info.memory
    for memory, slots in ((one, 1), (two, 2), (two + 1, 2), (2**40, 4)):
        info = load(msgspec.structs.replace(spec, slots=None, memory=memory)).info
        assert (info.slots, info.memory) == (slots, one + (slots - 1) * (two - one))


def test_answers_at_once_share_the_cores(
    tiny: Tiny, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[int] = []
    monkeypatch.setattr(cores, "share", lambda _cores, shared: answers.append(shared) or 1)
    model = load(msgspec.structs.replace(tiny("spm untied"), slots=2))
    prompt = model.tokenize("Hello world")
    answers.clear()
    with ExitStack() as first:
        greedy = GenerationRequest(prompt="", max_tokens=99, temperature=0)
        chat = model.generate(prompt, greedy, slot=0)
        first.callback(chat.close)
        assert [next(chat), next(chat), answers.pop()] == [Started(0), Progress(len(prompt)), 1]
        for event in model.embed(prompt, slot=1):
            assert answers in ([], [2]), event
        answers.clear()
        assert isinstance(next(chat), Piece)
        next(chat)
        assert set(answers) == {1}
    answers.clear()
    list(model.embed(prompt, slot=1))
    assert set(answers) == {1}


def test_an_answer_that_is_out_leaves_all_cores_to_others(
    tiny: Tiny, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[int] = []
    monkeypatch.setattr(cores, "share", lambda _cores, shared: answers.append(shared) or 1)
    model = load(msgspec.structs.replace(tiny("spm untied"), slots=2))
    prompt = model.tokenize("Hello world")
    chat = model.generate(prompt, GenerationRequest(prompt="", max_tokens=2), slot=0)
    while not isinstance(next(chat), Finished):
        pass
    answers.clear()
    list(model.embed(prompt, slot=1))
    assert set(answers) == {1}
    # What it leaves behind is no answer.
    assert next(chat, None) is None
    assert answers[-1] == 0


def test_every_slot_is_warm_before_the_first_prompt(
    tiny: Tiny, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    warmed = []
    warm_up = Context.warm_up
    with monkeypatch.context() as watched:
        watched.setattr(Context, "warm_up", lambda it: warmed.append(it) or warm_up(it))
        load(msgspec.structs.replace(tiny("spm untied"), slots=3))
    assert len({id(context) for context in warmed}) == 3


@pytest.mark.parametrize(("asked", "given"), [(None, 256), (64, 64), (100_000, 256)])
def test_the_context_is_what_was_asked_for_and_never_more_than_the_models(
    tiny: Tiny, load: Load, asked: int | None, given: int
) -> None:
    spec = spec_of(Path(tiny("spm untied").path), ctx_len=asked)
    assert load(spec).info.context_length == given


def test_a_context_of_nothing_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ModelCannotRun, match="ctx_len is 0"):
        CTransformersEngine().load(spec_of(Path(tiny("spm untied").path), ctx_len=0))


def begun(events: list[Event]) -> int:
    """How many tokens of the prompt were not computed again."""
    started = events[0]
    assert isinstance(started, Started)
    return started.cached_tokens


def test_the_prompt_is_evaluated_in_chunks_and_its_beginning_reused(tiny: Tiny, load: Load) -> None:
    model = load(tiny("bpe tied"))
    *read, finished = events_of(model, LONG, max_tokens=0)
    assert read == [Started(0), Progress(64), Progress(80)]
    assert isinstance(finished, Finished)
    assert events_of(model, LONG, max_tokens=0)[:2] == [Started(79), Progress(80)]
    assert events_of(model, LONG + " on", max_tokens=0)[:2] == [Started(80), Progress(81)]
    assert begun(events_of(model, LONG, max_tokens=0, cache_prompt=False)) == 0


def test_with_a_seed_only_whole_chunks_are_reused(tiny: Tiny, load: Load) -> None:
    model = load(tiny("bpe tied"))
    events_of(model, LONG)
    assert begun(events_of(model, LONG, seed=1)) == 64
    assert begun(events_of(model, LONG)) == 79


def test_an_embedding_reuses_only_whole_chunks(tiny: Tiny, load: Load) -> None:
    """What chats left there, cut otherwise, would move it a little."""
    model = load(tiny("bpe tied"))
    events_of(model, LONG)
    assert begun(list(model.embed(model.tokenize(LONG)))) == 64


def test_the_parts_take_some_time_and_no_more_than_the_whole(tiny: Tiny, load: Load) -> None:
    model = load(tiny("bpe tied"))
    begun = time.perf_counter()
    finished = events_of(model, LONG)[-1]
    whole = time.perf_counter() - begun
    assert isinstance(finished, Finished)
    assert min(finished.prompt_seconds, finished.answer_seconds) > 0
    assert finished.prompt_seconds + finished.answer_seconds < whole


def test_the_answer_is_reused_by_the_next_turn(tiny: Tiny, load: Load) -> None:
    model = load(tiny("bpe tied"))
    prompt = "<|im_start|>user\nHello world<|im_end|>\n"
    answer = text_of(events_of(model, prompt))
    second = events_of(model, prompt + answer + "<|im_end|>\n", max_tokens=1)
    assert begun(second) >= len(model.tokenize(prompt))


def test_a_slot_keeps_what_another_does_not_touch(tiny: Tiny, load: Load) -> None:
    model = load(msgspec.structs.replace(tiny("bpe tied"), slots=2))
    tokens = model.tokenize(LONG)
    request = GenerationRequest(prompt=LONG, temperature=0, max_tokens=1)
    for slot, cached in ((0, 0), (1, 0), (0, 79), (1, 79)):
        assert begun([*model.generate(tokens, request, slot=slot)]) == cached


@pytest.mark.parametrize("taken", range(1, 7))
def test_after_a_cancel_the_next_answer_is_that_of_a_fresh_model(
    tiny: Tiny, load: Load, taken: int
) -> None:
    fresh = events_of(load(tiny("bpe untied")), LONG + " people", cache_prompt=False)
    model = load(tiny("bpe untied"))
    asked = GenerationRequest(prompt=LONG * 2, temperature=0, max_tokens=4)
    events = iter(model.generate(model.tokenize(LONG * 2), asked))
    for _ in range(taken):
        next(events)
    events.close()  # type: ignore[attr-defined]  # a generator, as the protocol promises
    assert text_of(events_of(model, LONG + " people")) == text_of(fresh)


def test_the_end_token_ends_the_answer_and_is_not_shown(
    tiny: Tiny, load: Load, tmp_path: Path
) -> None:
    [first, *_] = (e for e in events_of(load(tiny("bpe tied")), " time") if isinstance(e, Piece))
    vocabulary = read_vocabulary(read_header(tiny("bpe tied").path))
    end = [*map(vocabulary.piece, range(len(vocabulary.tokens)))].index(first.text.encode())
    path = write_tiny_gguf(
        tmp_path / "ends.gguf", extra_metadata={"tokenizer.ggml.eot_token_id": end}
    )
    *read, finished = events_of(load(spec_of(path)), " time")
    assert read == [Started(0), Progress(1)]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.completion_tokens) == ("stop", 1)
    *_, finished = events_of(load(spec_of(path)), " time", ignore_eos=True)
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.completion_tokens) == ("length", 8)


def test_penalties_change_the_answer(tiny: Tiny, load: Load) -> None:
    model = load(tiny("bpe tied"))
    texts = {
        text_of(events_of(model, LONG, max_tokens=40, **values))
        for values in ({}, {"repeat_penalty": 2.0}, {"presence_penalty": 2.0})
    }
    assert len(texts) == 3


@pytest.mark.parametrize(
    ("prompt", "last", "repeats"),
    [("wwwwwwww", 64, True), ("wwqwwwww", 64, False), ("wwqwwwww", 5, True), ("wwqw", 2, False)],
)
def test_the_repeat_penalty_looks_at_the_last_of_the_prompt(
    tiny: Tiny, load: Load, prompt: str, last: int, repeats: bool
) -> None:
    only_q = {"logit_bias": {Q: 50.0}, "repeat_penalty": 1000.0, "repeat_last_n": last}
    said = text_of(events_of(load(tiny("bpe tied")), prompt, max_tokens=1, **only_q))
    assert (said == "q") == repeats


CHANGES: dict[str, dict[str, Any]] = {
    "logit_bias": {"logit_bias": {300: 100.0}},
    "stop": {"stop": (" ",)},
    "max_tokens": {"max_tokens": 3},
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_of_these_changes_the_answer(tiny: Tiny, load: Load, name: str) -> None:
    model = load(tiny("bpe tied"))
    assert text_of(events_of(model, LONG)) != text_of(events_of(model, LONG, **CHANGES[name]))


def test_only_visible_control_tokens_are_part_of_the_text(tiny: Tiny, load: Load) -> None:
    model = load(tiny("bpe tied"))
    [control] = model.tokenize("<|im_start|>", bos=False)
    only = {"logit_bias": {control: 100.0}, "max_tokens": 2}
    assert text_of(events_of(model, LONG, **only)) == ""
    visible = events_of(model, LONG, visible=("<|im_start|>",), **only)
    assert text_of(visible) == "<|im_start|>" * 2


FORCED = Constraint(kind="regex", text="(the people|their first) water")


def test_what_is_forced_is_told_and_counted_and_kept(tiny: Tiny, load: Load) -> None:
    model = load(tiny("bpe tied"))
    prompt = model.tokenize(LONG)
    *_, piece, finished = events_of(model, LONG, constraint=FORCED, max_tokens=50)
    text = text_of(events_of(model, LONG, constraint=FORCED, max_tokens=50))
    assert text in ("the people water", "their first water")
    assert isinstance(piece, Piece)
    assert isinstance(finished, Finished)
    assert finished.reason == "stop"
    assert list(model.held(0))[: len(prompt)] == prompt


@pytest.mark.parametrize(
    ("grammar", "text"),
    [("start: /[0-9]/", "[0-9]"), ('start: "<|im_start|>" /[0-9]/', r"<\|im_start\|>[0-9]")],
)
def test_no_more_tokens_are_computed_than_the_form_takes(
    tiny: Tiny, load: Load, grammar: str, text: str
) -> None:
    """A control token that is visible is one of them, and not its letters."""
    form = {"constraint": Constraint(kind="lark", text=grammar), "visible": ("<|im_start|>",)}
    events = events_of(load(tiny("bpe tied")), LONG, max_tokens=50, **form)
    assert re.fullmatch(text, text_of(events))
    assert isinstance(finished := events[-1], Finished)
    assert finished.completion_tokens == (2 if "im_start" in text else 1)


def test_told_likelihoods_change_no_constrained_answer(tiny: Tiny, load: Load) -> None:
    model = load(tiny("bpe tied"))
    texts = [
        text_of(events_of(model, LONG, constraint=FORCED, max_tokens=50, logprobs=logprobs))
        for logprobs in (None, 2)
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("regex", "values"),
    [
        ("[0-9]{3}q[0-9]{6}", {"temperature": 2.0, "seed": 1}),
        ("[qw]qqqqqq[qw]{4}", {"frequency_penalty": 2.0, "logit_bias": {Q: 8.0}}),
        ("[qw]qqqqqq[qw]{4}", {"repeat_penalty": 100.0, "logit_bias": {Q: 8.0}}),
    ],
)
def test_what_is_forced_counts_as_what_is_chosen(
    tiny: Tiny, load: Load, regex: str, values: dict[str, Any]
) -> None:
    """Where likelihoods are told nothing is forced; of these letters no two make one token."""
    model = load(tiny("bpe tied"))
    assert model.detokenize([Q]) == "q"
    values = {"constraint": Constraint(kind="regex", text=regex), "max_tokens": 50, **values}
    forced, chosen = (text_of(events_of(model, LONG, **values, logprobs=n)) for n in (None, 0))
    assert forced == chosen


@pytest.mark.parametrize("room", range(1, 6))
def test_forced_tokens_end_where_the_room_does(tiny: Tiny, load: Load, room: int) -> None:
    finished = events_of(
        load(tiny("bpe tied")), LONG, constraint=FORCED, max_tokens=room, stop=("zzz",)
    )[-1]
    assert isinstance(finished, Finished)
    assert finished.completion_tokens <= room


def test_a_stop_string_within_what_is_forced_ends_the_answer(tiny: Tiny, load: Load) -> None:
    model = load(tiny("bpe tied"))
    events = events_of(model, LONG, constraint=FORCED, max_tokens=50, stop=(" water", "p", "f"))
    assert text_of(events) in ("the ", "their ")
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reason == "stop"


def test_nothing_is_forced_behind_a_stop_string(tiny: Tiny, load: Load) -> None:
    form = Constraint(kind="regex", text="wqqqqqqqq")
    finished = events_of(load(tiny("bpe tied")), LONG, constraint=form, stop=("qq",))[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.completion_tokens) == ("stop", 3)


def test_sampled_answers_differ_by_seed(tiny: Tiny, load: Load) -> None:
    model = load(tiny("spm untied"))
    texts = [text_of(events_of(model, LONG, temperature=1.0, seed=seed)) for seed in (1, 2, 1)]
    assert texts[0] == texts[2] != texts[1]


def test_bos_is_put_in_front_once(load: Load, tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "bos.gguf", vocabulary="spm", tied=False, add_bos=True)
    model = load(spec_of(path))
    assert [len(model.tokenize(text)) for text in ("the", "<s>the", "")] == [2, 2, 1]
    assert len(model.tokenize("the", bos=False)) == 1


@pytest.mark.parametrize("kind", ["bpe tied", "spm untied"])
def test_a_prompt_with_half_a_character_is_refused(tiny: Tiny, load: Load, kind: str) -> None:
    with pytest.raises(InvalidRequest, match="half a surrogate pair"):
        load(tiny(kind)).tokenize("a\ud83d")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"prompt": (1, 10**6)}, "$.prompt"),
        ({"prompt": (1, -1)}, "$.prompt"),
        ({"logit_bias": {10**6: 1.0}}, "$.logit_bias"),
    ],
)
def test_ids_that_are_no_tokens_are_refused(
    tiny: Tiny, load: Load, changes: dict[str, Any], param: str
) -> None:
    model = load(tiny("bpe tied"))
    with pytest.raises(InvalidRequest) as caught:
        model.check(GenerationRequest(**({"prompt": "x"} | changes)))
    assert caught.value.param == param


def cut_short(path: Path) -> None:
    path.write_bytes(write_tiny_gguf(path).read_bytes()[:-1000])


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut short": (cut_short, "cut short at"),
    "random": (lambda path: path.write_bytes(b"\x91\x00\x07" * 500), "not a GGUF file"),
    "text": (lambda path: path.write_text("Dear reader, " * 99), "it is text"),
    "missing": (lambda path: None, "No such file"),
    "architecture": (lambda path: write_tiny_gguf(path, architecture="qwen2"), "'qwen2'"),
    "pre": (lambda path: write_tiny_gguf(path, pre="nobody"), "is 'nobody'"),
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


def test_without_an_nvidia_device_the_cpu_computes(tiny: Tiny, load: Load) -> None:
    spec = tiny("spm untied")
    model = load(ModelSpec(id="t", engine="c", path=spec.path, gpu_layers=9, threads=1))
    assert re.fullmatch(r"cpu \(\w+\), 1 threads", model.info.device)


def test_where_the_gpu_library_does_not_load_the_cpu_computes_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = builds.find_build
    monkeypatch.setattr(
        builds, "find_build", lambda layers: Build("missing", layers) if layers else find(0)
    )
    build, _ = engine_module.open_build(9)
    assert build.gpu_layers == 0
    assert build.note.startswith("ctransformers' missing library does not load here: ")


@pytest.mark.parametrize(
    ("built_for", "layers"),
    [
        ({}, 0),
        ({"ggml_cpu_has_gpublas": lambda: 1}, 100),
        ({"ggml_metal_init": lambda: None}, 100),
    ],
)
def test_a_library_that_somebody_built_is_asked_whether_it_computes_on_gpus(
    monkeypatch: pytest.MonkeyPatch, built_for: dict[str, Any], layers: int
) -> None:
    """Jan's manifests ask for as many layers as there can be, whatever the machine has."""
    opened = Changed(library.open_library(builds.find_build(0)), **built_for)
    monkeypatch.setattr(builds, "find_build", lambda asked: Build("local", asked))
    monkeypatch.setattr(library, "open_library", lambda _build: opened)
    assert engine_module.open_build(100) == (Build("local", layers), opened)


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


def test_the_engine_imports_nothing_that_takes_long(tiny: Tiny) -> None:
    """huggingface_hub, py-cpuinfo and the gguf package (only for fitting) cost 0.3, 1.2, 0.1 s."""
    CTransformersEngine().prepare(tiny("bpe tied"))
    spec = tiny("bpe tied")
    script = f"""
import sys
from jan_server.engines.base import ModelSpec
from jan_server.engines.ctransformers.engine import CTransformersEngine
from jan_server.engines.ctransformers.fitting import fit
from jan_server.engines.ctransformers.sizing import MOST_SLOTS, context_bytes
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
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert (len(model.tokenize(prompt)), finished.reason, finished.completion_tokens) == (
        16,
        "stop",
        8,
    )
