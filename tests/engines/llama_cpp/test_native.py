from __future__ import annotations

import _ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jan_server.engines.llama_cpp import library, package
from jan_server.engines.llama_cpp.native import NativeContext, NativeModel
from jan_server.errors import ModelCannotRun

Native = Callable[[str], NativeModel]
TOKENS = [5, 80, 7, 300, 41, 6, 77, 12, 90, 3]


def context_of(model: NativeModel, *, length: int = 128) -> NativeContext:
    return NativeContext(model, context_length=length)


def logits_of(context: NativeContext, tokens: list[int], *, past: int) -> np.ndarray:
    context.eval(tokens, n_past=past, threads=1)
    return context.logits().copy()


@pytest.mark.parametrize("kind", ["llama bpe", "qwen2 bpe", "mamba bpe"])
def test_what_stays_of_a_context_gives_the_same_as_all_evaluated_again(native: Native, kind: str):
    model = native(kind)
    context = context_of(model)
    logits_of(context, TOKENS, past=0)
    context.eval([9, 9, 9], n_past=len(TOKENS), threads=1, with_logits=False)
    again = logits_of(context, TOKENS[4:], past=4)
    fresh = context_of(model)
    fresh.eval(TOKENS[:4], n_past=0, threads=1)
    assert again == pytest.approx(logits_of(fresh, TOKENS[4:], past=4), abs=1e-5)
    context.close()
    fresh.close()


def test_what_was_forgotten_is_evaluated_again_in_batches(native: Native):
    """Mamba has one state, which no end can be taken from."""
    model = native("mamba bpe")
    many = TOKENS * 10
    context = context_of(model)
    for start in range(0, len(many), 50):
        context.eval(many[start : start + 50], n_past=start, threads=1)
    after = logits_of(context, [5], past=90)
    fresh = context_of(model)
    fresh.eval(many[:64], n_past=0, threads=1)
    fresh.eval(many[64:90], n_past=64, threads=1)
    assert after == pytest.approx(logits_of(fresh, [5], past=90), abs=1e-4)
    context.close()
    fresh.close()


@pytest.mark.parametrize(("kind", "held"), [("llama bpe", 4), ("mamba bpe", 0)])
def test_it_says_what_stays(native: Native, kind: str, held: int):
    context = context_of(native(kind))
    logits = logits_of(context, TOKENS, past=0)
    assert context.keep(len(TOKENS)) == len(TOKENS)
    assert context.keep(4) == held
    assert logits_of(context, TOKENS[held:], past=held) == pytest.approx(logits, abs=1e-4)
    context.close()


def test_logits_cannot_be_written_to(native: Native):
    context = context_of(native("llama bpe"))
    context.eval(TOKENS, n_past=0, threads=1)
    with pytest.raises(ValueError, match="read-only"):
        context.logits()[0] = 1
    context.close()


def test_an_embedding_is_of_all_that_is_held_and_changes_no_logits(native: Native):
    model = native("qwen2 bpe")
    context = context_of(model)
    expected = logits_of(context, [8], past=0)
    context.eval(TOKENS, n_past=0, threads=1)
    embedding = context.embedding()
    assert embedding.shape == (model.width,)
    context.eval([*TOKENS[1:], TOKENS[-1]], n_past=0, threads=1)
    assert np.abs(context.embedding() - embedding).max() > 1e-3
    assert logits_of(context, [8], past=0) == pytest.approx(expected, abs=1e-5)
    context.close()


@pytest.mark.parametrize(
    ("tokens", "past", "reason"),
    [
        ([], 0, "0 tokens"),
        ([1] * 65, 0, "65 tokens"),
        ([1], 1, "after 1"),
        ([-1], 0, "numbers below"),
        ([10**6], 0, "numbers below"),
    ],
)
def test_what_the_library_would_not_survive_is_refused(
    native: Native, tokens: list[int], past: int, reason: str
):
    context = context_of(native("llama bpe"))
    with pytest.raises(ValueError, match=reason):
        context.eval(tokens, n_past=past, threads=1)
    context.close()
    with pytest.raises(ValueError, match="cannot be evaluated"):
        context.eval([1], n_past=0, threads=1)


def test_no_more_is_evaluated_than_the_context_holds(native: Native):
    context = context_of(native("llama bpe"), length=8)
    context.eval([1] * 8, n_past=0, threads=1)
    with pytest.raises(ValueError, match="1 tokens after 8"):
        context.eval([1], n_past=8, threads=1)
    context.close()


def test_what_the_library_cannot_evaluate_is_an_error(native: Native):
    context = context_of(native("llama bpe"), length=64)
    # There are cells for 256 tokens at least. Beyond them llama.cpp finds no room.
    context.context_length = 10_000
    for start in range(0, 256, 64):
        context.eval([1] * 64, n_past=start, threads=1)
    with pytest.raises(RuntimeError, match=r"could not evaluate 64 tokens \(1\)"):
        context.eval([1] * 64, n_past=256, threads=1)
    context.close()


def test_a_model_goes_with_the_last_of_its_contexts(native: Native):
    model = native("llama bpe")
    contexts = [context_of(model), context_of(model)]
    contexts[0].close()
    contexts[0].close()
    contexts[1].eval(TOKENS, n_past=0, threads=1)
    assert repr(model) == "<NativeModel llama-bpe.gguf, 1 contexts>"
    assert repr(contexts[1]) == "<NativeContext of llama-bpe.gguf, 10 tokens>"
    contexts[1].close()
    assert model.pointer is None


def test_a_context_that_llama_cpp_does_not_make_is_refused(native: Native):
    model = native("llama bpe")
    with pytest.raises(ModelCannotRun, match="makes no context for llama-bpe"):
        context_of(model, length=0)
    assert repr(model) == "<NativeModel llama-bpe.gguf, 0 contexts>"


def test_a_context_that_is_not_as_asked_for_is_refused(native: Native, monkeypatch):
    model = native("llama bpe")
    monkeypatch.setattr(model.library, "llama_n_batch", lambda context: 7)
    with pytest.raises(ModelCannotRun, match=r"it made \{'n_batch': 7"):
        context_of(model)
    assert model.pointer is None


def test_llama_cpps_own_reason_is_told_and_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    (tmp_path / "m.gguf").write_bytes(b"GGUF but no more")
    with pytest.raises(ModelCannotRun, match=r"refuses m\.gguf: .*GGUF"):
        NativeModel(library.open_library(), tmp_path / "m.gguf", gpu_layers=0)
    assert "m.gguf" in capfd.readouterr().err


def test_nothing_but_errors_is_shown(native: Native, capfd: pytest.CaptureFixture[str]):
    context_of(native("llama bpe")).close()
    assert capfd.readouterr() == ("", "")


def test_a_library_that_lays_its_parameters_out_differently_is_refused():
    shifted = SimpleNamespace(
        llama_model_default_params=lambda: library.ModelParams(n_gpu_layers=1, split_mode=-1)
    )
    with pytest.raises(ModelCannotRun, match=r"not known \(llama_model_default_params says"):
        library.check_layout(shifted)


def test_a_library_without_the_functions_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(library, "library_path", lambda: Path(_ctypes.__file__))
    with pytest.raises(ModelCannotRun, match=r"cannot be used here: .*llama_backend_init"):
        library.open_library.__wrapped__()


def test_a_package_without_its_library_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "xllamacpp").mkdir()
    (tmp_path / "xllamacpp" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
    with pytest.raises(ModelCannotRun, match="not installed"):
        package.library_path()
