"""Whether `xllamacpp` is installed, and where its library lies, without importing it.

Light: the server asks, to choose an engine and for its start line; the child asks, to load it.
"""

from __future__ import annotations

import importlib.util
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from jan_server.engines.base import ModelSpec
from jan_server.engines.decoding.sizing import threads_of
from jan_server.errors import ModelCannotRun
from jan_server.gguf import Header

PACKAGE = "xllamacpp"
INSTALL = 'pip install "jan-server[llama-cpp]"'


def library_path() -> Path:
    """The package's extension module, llama.cpp in it. Raises ModelCannotRun when it is not there.

    It lies beside the package's `__init__`, which would be imported if the module were asked for.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        for suffix in EXTENSION_SUFFIXES:
            path = Path(folder) / f"{PACKAGE}{suffix}"
            if path.is_file():
                return path
    raise ModelCannotRun(f"The engine llama-cpp is not installed: {INSTALL}")


def check(_header: Header) -> None:
    """Nothing can be told from a header: llama.cpp knows most. Raises ModelCannotRun."""
    library_path()


def device(spec: ModelSpec) -> str:
    """What would compute a model, for people: `cpu, 2 threads`. Raises ModelCannotRun."""
    library_path()
    return described("cpu", spec) if not spec.gpu_layers else described("gpu if there is one", spec)


def described(unit: str, spec: ModelSpec) -> str:
    layers = f", {spec.gpu_layers} layers" if spec.gpu_layers and unit != "cpu" else ""
    return f"{unit}{layers}, {threads_of(spec)} threads"
