"""How long choosing a token takes, beside the library's own sampler on the same logits.

Each figure is taken in the loop that an answer is made in: a token is evaluated, which leaves the
processor's caches full of weights, then one choice is timed. What the same choice takes when it is
made again and again, all caches warm, is told beside it, and has the first bound: that one comes
from such a measurement.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from ctransformers import LLM
from ctransformers.llm import Config
from msgspec import Struct
from numpy.typing import NDArray

from bench.figure import Figure, Ratio
from bench.subject import Subject
from jan_server.engines.base import ModelSpec, Parameters
from jan_server.engines.ctransformers import builds
from jan_server.engines.ctransformers.engine import CTransformersEngine
from jan_server.engines.ctransformers.fitting import fit
from jan_server.engines.decoding.sampling import Sampler, likelihoods
from jan_server.engines.decoding.sizing import threads_of
from jan_server.gguf import read_header

ROUNDS, AGAIN = 60, 5
CONTEXT = 2048
TEXT = "Once upon a time there was a small town by the sea, where a clockmaker lived who"

Logits = NDArray[np.float32]
Mask = NDArray[np.uint32]
Choose = Callable[[Logits, list[int]], object]

# What the bound is of, and what the library's own sampler can do as well.
TOP_K, TOP_P, REPEAT_PENALTY, LAST, TEMPERATURE = 40, 0.95, 1.1, 64, 0.8
NATIVE = Parameters(
    temperature=TEMPERATURE,
    top_k=TOP_K,
    top_p=TOP_P,
    repeat_penalty=REPEAT_PENALTY,
    repeat_last_n=LAST,
    seed=1,
)
USUAL = "sampling: top-k 40, top-p 0.95, repeat penalty 1.1 over 64"
DEFAULT = Parameters(temperature=TEMPERATURE, seed=1)


class Case(Struct, frozen=True):
    """`share` of the tokens are allowed by a mask, or there is none."""

    name: str
    bound: float
    values: Parameters
    share: float | None = None


CASES = [
    Case("greedy", 0.1, Parameters(temperature=0)),
    Case("top-p 0.95, temperature 0.8", 0.4, DEFAULT),
    Case("typical 0.95", 0.4, Parameters(top_p=1, typical_p=0.95, seed=1)),
    Case("mirostat 2", 0.4, Parameters(mirostat=2, seed=1)),
    Case("top-p, a mask that allows 0.1 %", 0.4, DEFAULT, 0.001),
    Case("top-p, a mask that allows 95 %", 0.4, DEFAULT, 0.95),
]


class Times(Struct, frozen=True):
    """Milliseconds: the medians in the loop, and with warm caches."""

    loop: float
    again: float

    @property
    def detail(self) -> str:
        return f"{self.again:.3f} ms with warm caches; {ROUNDS} rounds"


def measure(subject: Subject) -> list[Figure]:
    loop = Loop(subject.spec())
    ours, peer = loop.times([_chooser(NATIVE), loop.native])
    figures = [
        Figure(
            name=f"{USUAL}, caches warm",
            value=ours.again,
            bound=0.1,
            unit=" ms",
            ratio=Ratio(peer=peer.again, value=ours.again / peer.again),
        ),
        Figure(
            name=f"{USUAL}, in the loop",
            value=ours.loop,
            bound=0.4,
            unit=" ms",
            ratio=Ratio(peer=peer.loop, value=ours.loop / peer.loop, bound=0.4),
            detail=ours.detail,
        ),
    ]
    for case in CASES:
        [found] = loop.times([_chooser(case.values, _mask(case.share, loop.size))])
        figures.append(_figure(f"sampling: {case.name}", found, case.bound))
    [found] = loop.times([lambda logits, history: likelihoods(logits, history[-1], 5)])
    return [*figures, _figure("likelihoods, the 5 largest", found, 0.4)]


def _figure(name: str, found: Times, bound: float) -> Figure:
    return Figure(name=name, value=found.loop, bound=bound, unit=" ms", detail=found.detail)


def _chooser(values: Parameters, mask: Mask | None = None) -> Choose:
    sampler = Sampler(values)
    return lambda logits, history: sampler.choose(logits, history, mask)


def _mask(share: float | None, size: int) -> Mask | None:
    if share is None:
        return None
    bits = np.random.default_rng(1).random(-(-size // 32) * 32) < share
    return np.packbits(bits, bitorder="little").view(np.uint32)


class Loop:
    """The library with its own Python face, which evaluates what our sampler chose."""

    def __init__(self, spec: ModelSpec) -> None:
        path = Path(spec.path)
        fitted = fit(path, read_header(path), spec.work_folder)
        self._llm = LLM(
            str(fitted),
            "gguf",
            config=Config(context_length=CONTEXT, threads=threads_of(spec)),
            lib=builds.find_build(0).name,
        )
        self._history = _tokens(spec)
        self._llm.eval(self._history)
        self._sampler = Sampler(DEFAULT)
        self.size: int = self._llm.vocab_size

    def native(self, _logits: Logits, history: list[int]) -> int:
        """The library's own sampler; it knows the history itself."""
        token: int = self._llm.sample(
            top_k=TOP_K,
            top_p=TOP_P,
            temperature=TEMPERATURE,
            repetition_penalty=REPEAT_PENALTY,
            last_n_tokens=LAST,
            seed=len(history),
        )
        return token

    def times(self, ways: list[Choose]) -> list[Times]:
        """Of each way; they take turns, each after a token of its own."""
        found: list[list[tuple[float, float]]] = [[] for _ in ways]
        for _ in range(ROUNDS):
            for way, times in zip(ways, found, strict=True):
                logits = self._go_on()
                first = self._time(way, logits)
                again = median(self._time(way, logits) for _ in range(AGAIN))
                times.append((first, again))
        return [Times(*map(median, zip(*times, strict=True))) for times in found]

    def _go_on(self) -> Logits:
        token = self._sampler.choose(self._logits(), self._history)
        self._llm.eval([token])
        self._history.append(token)
        return self._logits()

    def _logits(self) -> Logits:
        pointer: Any = self._llm.ctransformers_llm_logits_data()
        return np.ctypeslib.as_array(pointer, (self.size,))

    def _time(self, way: Choose, logits: Logits) -> float:
        begun = time.perf_counter()
        way(logits, self._history)
        return 1000 * (time.perf_counter() - begun)


def _tokens(spec: ModelSpec) -> list[int]:
    model = CTransformersEngine().load(spec)
    try:
        return model.tokenize(TEXT)
    finally:
        model.close()
