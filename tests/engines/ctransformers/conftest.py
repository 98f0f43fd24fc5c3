from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jan_server.engines.base import ModelSpec
from jan_server.engines.ctransformers import builds, library
from jan_server.engines.ctransformers.engine import CTransformersEngine, DecodedModel
from jan_server.engines.ctransformers.library import NativeModel
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Callable[[str], ModelSpec]:
    """A tiny model by its kind: `bpe tied`, `bpe untied`, `spm tied` or `spm untied`."""

    def make(kind: str) -> ModelSpec:
        vocabulary, head = kind.split()
        path = tiny_folder / f"{vocabulary}-{head}.gguf"
        if not path.exists():
            write_tiny_gguf(
                path, vocabulary="bpe" if vocabulary == "bpe" else "spm", tied=head == "tied"
            )
        return spec_of(path)

    return make


def spec_of(path: Path, ctx_len: int | None = None) -> ModelSpec:
    return ModelSpec(
        id="tiny",
        engine="ctransformers",
        path=str(path),
        work_folder=str(path.parent / "fitted"),
        ctx_len=ctx_len,
        threads=1,
    )


@pytest.fixture
def load() -> Iterator[Callable[[ModelSpec], DecodedModel]]:
    """Load models that are closed after the test."""
    loaded: list[DecodedModel] = []

    def load_one(spec: ModelSpec) -> DecodedModel:
        loaded.append(CTransformersEngine().load(spec))
        return loaded[-1]

    yield load_one
    for model in loaded:
        model.close()


@pytest.fixture
def native(tmp_path: Path) -> Iterator[NativeModel]:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", vocabulary="spm", tied=False)
    loaded = library.open_library(builds.find_build(0))
    model = NativeModel(loaded, path, context_length=64, gpu_layers=0)
    yield model
    model.close()


class Changed:
    """The library, with other functions in place of some; None is one that it does not have."""

    def __init__(self, real: Any, **functions: Any) -> None:
        self._real = real
        self._functions = functions

    def __getattr__(self, name: str) -> Any:
        if name not in self._functions:
            return getattr(self._real, name)
        if self._functions[name] is None:
            raise AttributeError(name)
        return self._functions[name]
