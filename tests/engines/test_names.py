"""Which engine a manifest means."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jan_server import engines
from jan_server.engines import machine
from jan_server.engines.base import ModelSpec
from jan_server.engines.ctransformers import builds
from jan_server.engines.echo import EchoEngine
from jan_server.errors import ModelCannotRun
from tests.tiny_gguf import write_tiny_gguf

JANS_NAMES = ["", "nitro", "cortex.llamacpp", "llamacpp", None]


@pytest.fixture
def without_llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)


@pytest.mark.parametrize("name", ["ctransformers", "llama-cpp", "echo"])
def test_an_engine_that_is_named_is_taken_at_its_word(name: str):
    assert engines.canonical_name(name) == name
    assert engines.choose(name, "not looked at") == name


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "llama": (lambda path: write_tiny_gguf(path), "ctransformers"),
    "another architecture": (lambda path: write_tiny_gguf(path, architecture="qwen2"), "llama-cpp"),
    "another cut": (lambda path: write_tiny_gguf(path, pre="unheard of"), "llama-cpp"),
    "another rope": (
        lambda path: write_tiny_gguf(path, extra_metadata={"llama.rope.scaling.type": "yarn"}),
        "llama-cpp",
    ),
}


@pytest.mark.parametrize("name", JANS_NAMES)
@pytest.mark.parametrize("file", FILES)
def test_jans_names_mean_an_engine_that_runs_the_file(tmp_path: Path, name: str, file: str):
    make, engine = FILES[file]
    make(tmp_path / "m.gguf")
    assert engines.choose(name, str(tmp_path / "m.gguf")) == engine


@pytest.mark.usefixtures("without_llama_cpp")
@pytest.mark.parametrize("name", JANS_NAMES)
def test_what_no_engine_here_runs_names_the_reason_and_what_to_install(
    tmp_path: Path, name: str | None
):
    path = write_tiny_gguf(tmp_path / "m.gguf", architecture="qwen2")
    with pytest.raises(ModelCannotRun) as error:
        engines.choose(name, str(path))
    assert error.value.status == 422
    assert error.value.message == (
        "m.gguf cannot run on ctransformers: its architecture is 'qwen2', and only 'llama' is "
        "known to it. The optional engine `llama-cpp` (a current llama.cpp) may run it: it is "
        'chosen by "engine": "llama-cpp" in the model\'s model.json. '
        'The engine llama-cpp is not installed: pip install "jan-server[llama-cpp]"'
    )


@pytest.mark.usefixtures("without_llama_cpp")
def test_what_ctransformers_runs_needs_nothing_else(tmp_path: Path):
    assert engines.choose("nitro", str(write_tiny_gguf(tmp_path / "m.gguf"))) == "ctransformers"


def test_a_machine_that_ctransformers_was_not_built_for_runs_all_on_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(builds, "installed_builds", lambda _folder, _system: {"avx2"})
    assert engines.choose("nitro", str(write_tiny_gguf(tmp_path / "m.gguf"))) == "llama-cpp"


def test_a_file_that_was_replaced_is_looked_at_again(tmp_path: Path):
    path = tmp_path / "m.gguf"
    chosen = []
    for architecture in ("llama", "qwen2", "llama"):
        write_tiny_gguf(path, architecture=architecture)
        chosen.append(engines.choose("", str(path)))
    assert chosen == ["ctransformers", "llama-cpp", "ctransformers"]


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), (b"<html>", "text of a web page")]
)
def test_what_is_no_model_has_no_engine(tmp_path: Path, content: bytes | None, reason: str):
    if content is not None:
        (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(ModelCannotRun, match=reason):
        engines.choose("", str(tmp_path / "m.gguf"))


def test_an_engine_that_nobody_has_is_refused_with_those_that_there_are():
    for find in (engines.canonical_name, engines.resolve, engines.needs_weights):
        with pytest.raises(ModelCannotRun, match=r"'mine'.* ctransformers, echo, llama-cpp"):
            find("mine")
    with pytest.raises(ModelCannotRun, match="'mine'"):
        engines.choose("mine", "")


@pytest.mark.parametrize(
    ("name", "needs"),
    [("", True), ("llama-cpp", True), ("echo", False), ("openai", False)],
)
def test_an_engine_says_whether_it_needs_a_file(name: str, needs: bool):
    assert engines.needs_weights(name) is needs


def test_what_another_server_answers_runs_in_no_process():
    assert [name for name in ("openai", "echo", "", "mine") if engines.is_remote(name)] == [
        "openai"
    ]
    assert [name for name in ("openai", "echo", "nitro", "mine") if engines.is_row(name)] == [
        "openai",
        "echo",
        "nitro",
    ]
    with pytest.raises(ModelCannotRun, match="another server answers"):
        engines.resolve("openai")


def test_an_engine_is_made_by_its_name():
    assert isinstance(engines.resolve("echo"), EchoEngine)


@pytest.mark.parametrize(
    ("spec", "described"),
    [
        (ModelSpec(id="m", engine="llama-cpp", threads=3), "llama-cpp on cpu, 3 threads"),
        (
            ModelSpec(id="m", engine="llama-cpp", threads=3, gpu_layers=7),
            "llama-cpp on gpu if there is one, 7 layers, 3 threads",
        ),
        (ModelSpec(id="m", engine="echo"), "echo"),
    ],
)
def test_the_start_line_says_what_would_compute(
    spec: ModelSpec, described: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine, "usable_cpus", lambda: set(range(8)))
    assert engines.describe(spec) == described


@pytest.mark.usefixtures("without_llama_cpp")
def test_the_start_line_says_when_an_engine_is_not_installed():
    with pytest.raises(ModelCannotRun, match="not installed"):
        engines.describe(ModelSpec(id="m", engine="llama-cpp"))


def test_choosing_imports_nothing_heavy(tmp_path: Path):
    path = write_tiny_gguf(tmp_path / "m.gguf", architecture="qwen2")
    code = (
        "import sys; from jan_server import engines\n"
        f"assert engines.choose('', {str(path)!r}) == 'llama-cpp'\n"
        "heavy = {'numpy', 'tokenizers', 'llguidance', 'ctransformers', 'xllamacpp'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
