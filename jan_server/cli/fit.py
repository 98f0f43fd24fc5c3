"""Whether a model fits this machine: which engine would run it, and what it takes of memory."""

from __future__ import annotations

import msgspec

from jan_server import engines
from jan_server.engines import machine
from jan_server.engines.base import ModelSpec
from jan_server.engines.decoding.sizing import choose_slots
from jan_server.engines.schedule import MEMORY_PER_BYTE_OF_WEIGHTS
from jan_server.errors import ModelCannotRun
from jan_server.gguf import Header

TOO_LARGE = (
    "It takes more than all models together may: it is loaded alone, and the machine may swap. A "
    "smaller ctx_len or n_parallel in its model.json takes less, or a file with fewer bits."
)
ESTIMATED = "An estimate: its header says more when it is here."


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes are in bytes, of the loaded model with all its contexts full; null is not known.

    `runs` says whether an engine of this machine runs it, `fits` whether it does so within
    `budget`, which is what all models together may take, and `note` what else there is to know.
    `device` is for people. `gpu_layers` go to a GPU, as far as can be told before it is loaded.
    `context_length` is in tokens, of each of the `slots`; `contexts` is what those take together.
    """

    runs: bool
    fits: bool
    budget: int
    engine: str | None = None
    device: str | None = None
    gpu_layers: int = 0
    weights: int | None = None
    contexts: int | None = None
    context_length: int | None = None
    slots: int | None = None
    memory: int | None = None
    note: str | None = None


def find_fit(spec: ModelSpec, header: Header | None, *, size: int, budget: int) -> Fit:
    """`size` is of all parts of the weights. `header` is None while they are not here."""
    try:
        device = engines.describe(spec)
        if header is not None:
            engines.check(spec.engine, header)
        memory = _memory(spec, header, size=size, budget=budget)
    except ModelCannotRun as error:
        return refused(error, budget=budget)
    return msgspec.structs.replace(
        memory,
        engine=spec.engine,
        device=device,
        gpu_layers=spec.gpu_layers if spec.gpu_layers and machine.nvidia_devices() else 0,
        note=memory.note if memory.fits else TOO_LARGE,
    )


def refused(error: ModelCannotRun, *, budget: int) -> Fit:
    """Nothing of this machine runs it."""
    return Fit(runs=False, fits=False, budget=budget, note=error.message)


def _memory(spec: ModelSpec, header: Header | None, *, size: int, budget: int) -> Fit:
    need = engines.need(spec, header) if header else None
    if need is None:
        memory = int(size * MEMORY_PER_BYTE_OF_WEIGHTS)
        note = ESTIMATED if size else None
        return Fit(runs=True, fits=memory <= budget, budget=budget, memory=memory, note=note)
    slots = choose_slots(spec.slots, weights=size, each=need.each, memory=budget)
    contexts = slots * need.each
    return Fit(
        runs=True,
        fits=size + contexts <= budget,
        budget=budget,
        weights=size,
        contexts=contexts,
        context_length=need.context_length,
        slots=slots,
        memory=size + contexts,
    )
