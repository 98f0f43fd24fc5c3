"""Files of this machine that become models: real GGUF headers, and hardly a tensor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter

from jan_server.importing import import_model, select
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.types.importing import ImportedModel

_ADD: dict[type, Any] = {int: GGUFWriter.add_uint32, str: GGUFWriter.add_string}


def small_gguf(path: Path, *, architecture: str = "llama", tensors: int = 1, **keys: Any) -> Path:
    """A GGUF with these keys, each underscore of them a dot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, architecture)
    for key, value in keys.items():
        _ADD[type(value)](
            writer, key.replace("__", "\0").replace("_", ".").replace("\0", "_"), value
        )
    for number in range(tensors):
        writer.add_tensor(f"t{number}", np.full(32, number, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def split_gguf(folder: Path, name: str = "big", *, count: int = 3, tensors: int = 1) -> list[Path]:
    """The parts of one model, as llama.cpp's tool names and marks them."""
    return [
        small_gguf(
            folder / f"{name}-{number + 1:05}-of-{count:05}.gguf",
            tensors=tensors,
            split_count=count,
            split_no=number,
            split_tensors_count=count * tensors,
        )
        for number in range(count)
    ]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Where the user's own files lie."""
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


@pytest.fixture
def services(settings: Settings) -> Services:
    return Services(settings)


@pytest.fixture
def bring(services: Services) -> Callable[..., ImportedModel]:
    """Import these paths: `bring(path, mode="link")`."""

    def run(*paths: Path, mmproj: Path | None = None, **options: Any) -> ImportedModel:
        files = select(paths, mmproj=mmproj)
        return import_model(services.store, services.models, files, **options)

    return run
