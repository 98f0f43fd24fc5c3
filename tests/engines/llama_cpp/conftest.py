from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jan_server.engines.base import ModelSpec
from jan_server.engines.llama_cpp.library import open_library
from jan_server.engines.llama_cpp.native import NativeModel
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Callable[[str], Path]:
    """A tiny model by its kind: an architecture and a vocabulary, `qwen2 bpe`."""

    def make(kind: str) -> Path:
        architecture, vocabulary = kind.split()
        path = tiny_folder / f"{architecture}-{vocabulary}.gguf"
        if not path.exists():
            write_tiny_gguf(
                path,
                architecture=architecture,
                vocabulary="bpe" if vocabulary == "bpe" else "spm",
                add_bos=vocabulary == "spm",
            )
        return path

    return make


def spec_of(path: Path, *, ctx_len: int | None = 192, slots: int | None = 2) -> ModelSpec:
    return ModelSpec(
        id="tiny", engine="llama-cpp", path=str(path), ctx_len=ctx_len, threads=1, slots=slots
    )


@pytest.fixture
def native(tiny: Callable[[str], Path]) -> Iterator[Callable[[str], NativeModel]]:
    """The library's models, closed after the test."""
    opened: list[NativeModel] = []

    def open_one(kind: str) -> NativeModel:
        opened.append(NativeModel(open_library(), tiny(kind), gpu_layers=0))
        return opened[-1]

    yield open_one
    for model in opened:
        model.close()
