"""What serving costs the engine llama-cpp, against xllamacpp's own HTTP server: the same library.

Both answer the same question from the same weights with the same number of threads. They take
turns; which one begins alternates.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median

from bench.chat import LONG, Pair
from bench.figure import Figure, Ratio
from bench.served import PYTHON, listening_of, serving
from bench.streamed import Client
from bench.subject import Subject
from jan_server.engines.base import ModelSpec
from jan_server.engines.decoding.sizing import threads_of

ROUNDS = 20
CONTEXT = 2048


def measure(subject: Subject) -> list[Figure]:
    pairs = _answers(subject.spec(), model=subject.model)
    ours, peers = (median(answer.rate for answer in side) for side in zip(*pairs, strict=True))
    ratio = median(own.rate / peer.rate for own, peer in pairs)
    return [
        Figure(
            name="decode rate of the engine llama-cpp",
            value=ours,
            bound=peers,
            unit=" tokens/s",
            is_floor=True,
            ratio=Ratio(peer=peers, value=ratio, bound=0.97, is_floor=True),
            detail=f"against xllamacpp's own server, {len(pairs)} rounds",
        )
    ]


def _answers(spec: ModelSpec, *, model: str) -> list[Pair]:
    threads = threads_of(spec)
    peer = (*PYTHON, "bench.llama_cpp_server", spec.path)
    options = ("--context", str(CONTEXT), "--threads", str(threads))
    with (
        _folder(spec.path, model) as folder,
        serving(folder, "--threads", str(threads)) as server,
        listening_of(*peer, *options, health="/health") as other,
    ):
        return list(_take_turns([Client(server.port, model), Client(other.port, model)]))


@contextmanager
def _folder(path: str, model: str) -> Iterator[Path]:
    """A data folder with the weights under the engine's name."""
    manifest = {
        "engine": "llama-cpp",
        "settings": {"ctx_len": CONTEXT, "n_parallel": 1, "llama_model_path": path},
    }
    with tempfile.TemporaryDirectory(prefix="bench-jan-") as name:
        place = Path(name) / "models" / model
        place.mkdir(parents=True)
        (place / "model.json").write_text(json.dumps(manifest))
        yield Path(name)


def _take_turns(sides: Sequence[Client]) -> Iterator[Pair]:
    """The first answers, which load the model and fill the caches, are not counted."""
    with closing(sides[0]), closing(sides[1]):
        for round in range(ROUNDS + 1):
            first = round % 2
            answers = {side: sides[side].answer(LONG) for side in (first, 1 - first)}
            own, peer = answers[0], answers[1]
            if (own.prompt_tokens, own.tokens) != (peer.prompt_tokens, peer.tokens):
                raise RuntimeError(f"the two sides disagree:\n{own}\n{peer}")
            if round:
                yield own, peer
