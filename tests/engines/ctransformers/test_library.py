"""The native library and its workarounds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jan_server.engines.ctransformers import builds, library
from jan_server.engines.ctransformers.builds import Build, choose_build
from jan_server.engines.ctransformers.library import NativeModel
from jan_server.errors import ModelCannotRun
from tests.engines.ctransformers.conftest import Changed
from tests.engines.mapped import mapped
from tests.tiny_gguf import write_tiny_gguf

NO_CUDA = "but this ctransformers has no library for NVIDIA devices"
LINUX: dict[str, Any] = {
    "system": "Linux",
    "processor": "x86_64",
    "flags": {"avx", "avx2", "fma", "f16c"},
    "builds": {"avx", "avx2", "basic", "cuda"},
    "gpu_layers": 0,
    "devices": 0,
}


@pytest.mark.parametrize(
    ("changes", "build", "device"),
    [
        ({}, Build("avx2"), "cpu (avx2)"),
        ({"processor": "AMD64", "system": "Windows"}, Build("avx2"), "cpu (avx2)"),
        ({"flags": {"avx", "avx2", "f16c"}}, Build("avx"), "cpu (avx)"),
        ({"flags": {"avx"}}, Build("basic"), "cpu (basic)"),
        ({"flags": set()}, Build("basic"), "cpu (basic)"),
        ({"gpu_layers": 20, "devices": 1}, Build("cuda", 20), "cuda, 20 layers"),
        ({"gpu_layers": 20}, Build("avx2"), "cpu (avx2)"),
        (
            {"gpu_layers": 20, "devices": 1, "builds": {"avx2"}},
            Build("avx2", note=f"ngl is 20, {NO_CUDA}"),
            "cpu (avx2)",
        ),
        (
            {"system": "Darwin", "processor": "arm64", "builds": {"avx", "avx2", "basic"}},
            Build("basic"),
            "cpu (basic)",
        ),
        (
            {"processor": "aarch64", "builds": {"local"}, "gpu_layers": 3},
            Build("local", 3),
            "cpu (local)",
        ),
    ],
)
def test_the_best_build_for_the_machine(changes: Any, build: Build, device: str) -> None:
    chosen = choose_build(**LINUX | changes)
    assert (chosen, chosen.device) == (build, device)


@pytest.mark.parametrize(
    "changes", [{"processor": "aarch64"}, {"builds": set()}, {"system": "Plan9", "builds": set()}]
)
def test_a_machine_without_a_build_is_told_what_would_run_it(changes: Any) -> None:
    with pytest.raises(ModelCannotRun, match="llama-cpp"):
        choose_build(**LINUX | changes)


def test_the_installed_builds_are_found() -> None:
    folder = builds.package_folder() / "lib"
    # `make native` puts one in place of the package's.
    of_package = {"avx", "avx2", "basic", "cuda"}
    own = {"local"} if (folder / "local").exists() else of_package
    assert builds.installed_builds(folder, "Linux") == own
    assert builds.installed_builds(folder, "Plan9") == set()


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "PACKAGE", "ctransformers_is_not_here")
    with pytest.raises(ModelCannotRun, match="pip install ctransformers"):
        builds.package_folder()


def test_the_package_is_whole_for_whoever_imports_it_later(tmp_path: Path) -> None:
    script = """
from jan_server.engines.ctransformers import builds, library
library.open_library(builds.find_build(0))
import sys
assert "ctransformers" not in sys.modules
import ctransformers
assert ctransformers.AutoModelForCausalLM
library.open_library(builds.find_build(0))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is mapped")
def test_models_of_one_file_share_its_pages(native: NativeModel, tmp_path: Path) -> None:
    loaded = library.open_library(builds.find_build(0))
    path = tmp_path / "tiny.gguf"
    another = NativeModel(loaded, path, context_length=64, gpu_layers=0)
    assert mapped(path) == ["r--s", "r--s"]
    another.close()
    assert mapped(path) == ["r--s"]


def test_a_model_evaluates_and_gives_logits(native: NativeModel) -> None:
    native.eval([1, 5, 9], n_past=0, threads=1)
    logits = native.logits()
    assert (logits.shape, logits.dtype) == ((native.vocabulary_size,), np.dtype(np.float32))
    first = logits.copy()
    native.eval([7], n_past=3, threads=1)
    assert not np.array_equal(logits, first)
    native.eval([5, 9], n_past=1, threads=1)
    assert np.allclose(logits, first, atol=0.05)
    with pytest.raises(ValueError, match="read-only"):
        logits[0] = 1


def test_how_many_threads_compute_changes_no_logits(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "long.gguf", vocabulary="spm", tied=False, context_length=640)
    loaded = library.open_library(builds.find_build(0))
    model = NativeModel(loaded, path, context_length=640, gpu_layers=0)
    of_threads = []
    for threads in (1, 2, 3):
        for start in range(0, 576, 64):
            model.eval([start % 300 + 7] * 64, n_past=start, threads=threads)
        model.eval([5], n_past=576, threads=threads)
        of_threads.append(model.logits().copy())
    model.close()
    assert np.array_equal(of_threads[0], of_threads[1])
    assert np.array_equal(of_threads[0], of_threads[2])


@pytest.mark.parametrize(("count", "n_past"), [(65, 0), (1, 64), (0, 0)])
def test_what_is_beyond_the_context_is_never_evaluated(
    native: NativeModel, count: int, n_past: int
) -> None:
    with pytest.raises(ValueError, match="cannot be evaluated by <NativeModel open, context 64>"):
        native.eval([1] * count, n_past=n_past, threads=1)


@pytest.mark.parametrize("token", [-1, 519, 10**6])
def test_what_is_no_token_is_never_evaluated(native: NativeModel, token: int) -> None:
    assert native.vocabulary_size == 519
    with pytest.raises(ValueError, match="tokens are numbers below 519"):
        native.eval([1, token], n_past=0, threads=1)


def test_a_failed_evaluation_is_an_error(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", vocabulary="spm", tied=False)
    loaded = library.open_library(builds.find_build(0))
    loaded = Changed(loaded, llama_eval=lambda *arguments: 1)
    model = NativeModel(loaded, path, context_length=64, gpu_layers=0)
    with pytest.raises(RuntimeError, match="could not evaluate 1 tokens after 0"):
        model.eval([1], n_past=0, threads=1)
    model.close()


def test_fifty_emoji_fit_into_the_buffer(native: NativeModel) -> None:
    ids = native.tokenize("😀".encode() * 50)
    assert len(ids) == 201
    assert native.tokenize(b"") == []


def test_a_closed_model_says_so_and_computes_nothing(native: NativeModel) -> None:
    native.close()
    native.close()
    assert repr(native) == "<NativeModel closed, context 64>"
    with pytest.raises(ValueError, match="closed"):
        native.eval([1], n_past=0, threads=1)


def test_a_file_that_the_library_refuses_is_an_error(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", vocabulary="spm", tied=True)
    loaded = library.open_library(builds.find_build(0))
    with pytest.raises(ModelCannotRun, match=r"ctransformers refuses tiny\.gguf"):
        NativeModel(loaded, path, context_length=64, gpu_layers=0)


def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "DEFAULTS", {**library.DEFAULTS, "n_ctx": 513})
    with pytest.raises(ModelCannotRun, match=r"is not that of its version 0\.2\.27"):
        library.open_library(builds.find_build(0))


def test_a_library_without_llama_cpps_functions_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(library, "_SIGNATURES", {"llama_of_tomorrow": (None, [])})
    with pytest.raises(ModelCannotRun, match=r"does not load here: .*llama_of_tomorrow"):
        library.open_library(builds.find_build(0))


def test_only_errors_of_the_library_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    library.log(2, b"it broke\n", None)
    library.log(4, b"loaded 12 tensors\n", None)
    assert capsys.readouterr().err == "it broke\n"
