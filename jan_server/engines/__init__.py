"""Engines by name: a table of rows, each found and imported only when it is used.

The server asks for names and rows; only the child process (`child.py`) calls `resolve`, since what
an engine imports is heavy and may crash. Another package adds an engine with an entry point of the
group `jan_server.engines`, named as manifests name the engine:

    [project.entry-points."jan_server.engines"]
    my-engine = "my_package.engine:MyEngine"

An entry point cannot replace a row of this table. The class is called without arguments; one that
does not read a weights file says `needs_weights = False` in its body.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

import msgspec

from jan_server.errors import ModelCannotRun

if TYPE_CHECKING:
    from jan_server.engines.base import Engine, ModelSpec

ENTRY_POINTS = "jan_server.engines"


class Row(msgspec.Struct, frozen=True):
    """`target` is `module:Class`. `needs_weights`: a model of it is a file that must be here.

    `device` is `module:function` of a ModelSpec, light to import: what would compute it, in words.
    """

    target: str
    needs_weights: bool = True
    device: str = ""


ENGINES = {
    "ctransformers": Row(
        "jan_server.engines.ctransformers.engine:CTransformersEngine",
        device="jan_server.engines.ctransformers.builds:device",
    ),
    "echo": Row("jan_server.engines.echo:EchoEngine", needs_weights=False),
}

# What Jan's manifests of every generation call the engine for local GGUF files.
ALIASES = {
    "": "ctransformers",
    "nitro": "ctransformers",
    "cortex.llamacpp": "ctransformers",
    "llama-cpp": "ctransformers",
    "llamacpp": "ctransformers",
}


def canonical_name(name: str | None) -> str:
    """The engine's own name for what a manifest says; raises ModelCannotRun for an unknown one."""
    wanted = ALIASES.get(name or "", name or "")
    if wanted in ENGINES or wanted in _entry_points():
        return wanted
    known = ", ".join(sorted({*ENGINES, *ALIASES, *_entry_points()} - {""}))
    raise ModelCannotRun(f"No engine is called {name!r}. Known engines: {known}.", param="engine")


def needs_weights(name: str | None) -> bool:
    """False when a model of this engine is only a manifest. Raises ModelCannotRun."""
    own = canonical_name(name)
    if own in ENGINES:
        return ENGINES[own].needs_weights
    return bool(getattr(_entry_points()[own].load(), "needs_weights", True))


def describe(spec: ModelSpec) -> str:
    """The engine and what it would compute with: `ctransformers on cpu (avx2), 2 threads`.

    Raises ModelCannotRun when it could not run here at all.
    """
    own = canonical_name(spec.engine)
    row = ENGINES.get(own)
    return f"{own} on {_imported(row.device)(spec)}" if row and row.device else own


def resolve(name: str | None) -> Engine:
    """Import the engine and make one. Raises ModelCannotRun when there is none of that name."""
    own = canonical_name(name)
    made = _imported(ENGINES[own].target) if own in ENGINES else _entry_points()[own].load()
    return cast("Engine", made())


def _imported(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _entry_points() -> dict[str, Any]:
    # importlib.metadata costs 25 ms to import: only a name outside the table pays for it.
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}
