"""Engines by name: a table of rows, each found and imported only when it is used.

The server asks for names and rows; only the child process (`child.py`) calls `resolve`, since what
an engine imports is heavy and may crash. Another package adds an engine with an entry point of the
group `jan_server.engines`, named as manifests name the engine:

    [project.entry-points."jan_server.engines"]
    my-engine = "my_package.engine:MyEngine"

An entry point cannot replace a row of this table. The class is called without arguments; one that
does not read a weights file says `needs_weights = False` in its body.

A manifest names an engine, and is taken at its word. Or it has one of the names that Jan wrote for
its own engine of the time: they mean whichever of ours runs the file, by what its header says. With
`openai` nothing runs here: another server answers (`jan_server.remote`).
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from jan_server.errors import ModelCannotRun
from jan_server.gguf import Header, read_header

if TYPE_CHECKING:
    from jan_server.engines.base import Engine, ModelSpec

ENTRY_POINTS = "jan_server.engines"


class Row(msgspec.Struct, frozen=True):
    """`target` is `module:Class`. `needs_weights`: a model of it is a file that must be here.
    `remote`: nothing runs here, and there is no target.

    Light to import are `device`, a `module:function` of a ModelSpec: what would compute it, in
    words; and `check`, one of a GGUF header, which raises ModelCannotRun when this engine does not
    run it here. `sizing` is a module that says how large a context is.
    """

    target: str
    needs_weights: bool = True
    device: str = ""
    check: str = ""
    sizing: str = ""
    remote: bool = False


ENGINES = {
    "ctransformers": Row(
        "jan_server.engines.ctransformers.engine:CTransformersEngine",
        device="jan_server.engines.ctransformers.builds:device",
        check="jan_server.engines.ctransformers.compatibility:check_here",
        sizing="jan_server.engines.ctransformers.sizing",
    ),
    "llama-cpp": Row(
        "jan_server.engines.llama_cpp.engine:LlamaCppEngine",
        device="jan_server.engines.llama_cpp.package:device",
        check="jan_server.engines.llama_cpp.package:check",
        sizing="jan_server.engines.llama_cpp.sizing",
    ),
    "echo": Row("jan_server.engines.echo:EchoEngine", needs_weights=False),
    "openai": Row("", needs_weights=False, remote=True),
}

# What Jan's manifests of every generation call the engine for local GGUF files.
JANS_NAMES = frozenset({"", "nitro", "cortex.llamacpp", "llamacpp"})
DEFAULT = "ctransformers"


def canonical_name(name: str | None) -> str:
    """The engine that a manifest names; for one of Jan's names the one that is tried first.

    Raises ModelCannotRun for a name that nobody has.
    """
    wanted = DEFAULT if (name or "") in JANS_NAMES else name or ""
    if wanted in ENGINES or wanted in _entry_points():
        return wanted
    known = ", ".join(sorted({*ENGINES, *JANS_NAMES, *_entry_points()} - {""}))
    raise ModelCannotRun(
        f"No engine is called {name!r}. Known engines: {known}. An engines/<name>.json in the data "
        "folder, with full_url and api_key, would name a server that answers.",
        param="engine",
    )


def choose(name: str | None, path: str) -> str:
    """The engine that a manifest names; for one of Jan's names, one that runs the file.

    That is the first of the table. Reads the file's header then (25 ms for 49,152 tokens), once
    as long as it stays as it is. Raises ModelCannotRun as `canonical_name`, and when no engine runs
    the file here, with the reason and what to install.
    """
    if (name or "") not in JANS_NAMES:
        return canonical_name(name)
    try:
        found = Path(path).stat()
    except OSError as error:
        raise ModelCannotRun(f"{Path(path).name} cannot be read: {error.strerror}.") from error
    return _running(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=256)
def _running(path: str, _size: int, _changed: int) -> str:
    header = read_header(path)
    refused: list[str] = []
    for name, row in ENGINES.items():
        if row.check:
            try:
                _imported(row.check)(header)
            except ModelCannotRun as error:
                refused.append(error.message)
            else:
                return name
    raise ModelCannotRun(" ".join(refused))


def needs_weights(name: str | None) -> bool:
    """False when a model of this engine is only a manifest. Raises ModelCannotRun."""
    own = canonical_name(name)
    if own in ENGINES:
        return ENGINES[own].needs_weights
    return bool(getattr(_entry_points()[own].load(), "needs_weights", True))


def is_row(name: str) -> bool:
    """Whether this is an engine of the table, or a name that Jan gave its own."""
    return name in ENGINES or name in JANS_NAMES


def is_remote(name: str) -> bool:
    """Whether another server answers."""
    return name in ENGINES and ENGINES[name].remote


def describe(spec: ModelSpec) -> str:
    """The engine and what it would compute with: `ctransformers on cpu (avx2), 2 threads`.

    Raises ModelCannotRun when it could not run here at all.
    """
    own = canonical_name(spec.engine)
    row = ENGINES.get(own)
    return f"{own} on {_imported(row.device)(spec)}" if row and row.device else own


def check(name: str, header: Header) -> None:
    """Raises ModelCannotRun when the engine does not run this file here, as far as can be told."""
    row = ENGINES.get(name)
    if row and row.check:
        _imported(row.check)(header)


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes beside its weights: `each` slot so many bytes when it is full, with
    `context_length` tokens."""

    each: int
    context_length: int


def need(spec: ModelSpec, header: Header) -> Need | None:
    """What the engine would take to run this file; None for one that does not say.

    Raises ModelCannotRun for a context that cannot be.
    """
    row = ENGINES.get(spec.engine)
    if row is None or not row.sizing:
        return None
    length = _imported(f"{row.sizing}:choose_context")(header, spec.ctx_len)
    each = _imported(f"{row.sizing}:context_bytes")(header, length)
    return Need(each=each, context_length=length)


def resolve(name: str | None) -> Engine:
    """Import the engine and make one.

    Raises ModelCannotRun when there is none of that name, or it is not installed.
    """
    own = canonical_name(name)
    if is_remote(own):
        raise ModelCannotRun(f"{own!r} is no engine of this machine: another server answers.")
    made = _imported(ENGINES[own].target) if own in ENGINES else _entry_points()[own].load()
    return cast("Engine", made())


def _imported(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _entry_points() -> dict[str, Any]:
    # importlib.metadata costs 25 ms to import: only a name outside the table pays for it.
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}
