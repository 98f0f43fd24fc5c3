"""What serving costs: the decode rate and the first token, against the loop called in process.

Both sides answer the same question from the same weights with the same number of threads, and give
the same text. They take turns; which one begins alternates.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from statistics import median

import msgspec

from bench.figure import Figure
from bench.served import serving
from bench.streamed import Client
from bench.subject import Answer, Question, Subject, answer_in_process
from jan_server.engines.base import LoadedModel, Parameters
from jan_server.engines.ctransformers.engine import CTransformersEngine

LONG = Question(text="Tell me a long story about a lighthouse keeper.", max_tokens=64)
# Drawn with a seed, the two sides say the same words, bit for bit. The server would take `top_p`
# from the model's manifest.
DRAWN = msgspec.structs.replace(LONG, temperature=0.8, seed=1, more={"top_p": Parameters().top_p})
SHORT = Question(text="What is the capital of France?", max_tokens=1)
LONG_ROUNDS = 30
SHORT_ROUNDS = 40

Pair = tuple[Answer, Answer]


def measure(subject: Subject) -> list[Figure]:
    # Its first evaluation after a pause takes the library 5 ms or 15, by where the system puts the
    # threads that it starts anew: with one thread the first token is the same work on both sides.
    alone = msgspec.structs.replace(subject, threads=1)
    return [
        _decode(_answers(subject, DRAWN, LONG_ROUNDS)),
        _first_token(_answers(alone, SHORT, SHORT_ROUNDS)),
    ]


def _answers(subject: Subject, question: Question, rounds: int) -> list[Pair]:
    """Loads the model twice: here, and in the server's child."""
    with (
        closing(CTransformersEngine().load(subject.spec())) as model,
        serving(subject.data_folder, *subject.options) as server,
    ):
        return list(_take_turns(model, Client(server.port, subject.model), question, rounds))


def _take_turns(
    model: LoadedModel, client: Client, question: Question, rounds: int
) -> Iterator[Pair]:
    """Served and in-process answers; the first of each, which fills the caches, is not counted."""
    with closing(client):
        sides = [
            lambda: client.answer(question),
            lambda: answer_in_process(model, question),
        ]
        for round in range(rounds + 1):
            first = round % 2
            answers = {first: sides[first](), 1 - first: sides[1 - first]()}
            served, here = answers[0], answers[1]
            if (served.text, served.prompt_tokens) != (here.text, here.prompt_tokens):
                raise RuntimeError(f"the two sides disagree:\n{served}\n{here}")
            if round:
                yield served, here


def _decode(pairs: list[Pair]) -> Figure:
    served, here = (median(answer.rate for answer in side) for side in zip(*pairs, strict=True))
    return Figure(
        name="decode rate at temperature 0.8, served / in process",
        value=median(served.rate / here.rate for served, here in pairs),
        bound=0.98,
        is_floor=True,
        detail=f"{served:.1f} and {here:.1f} tokens/s, {len(pairs)} rounds",
    )


def _first_token(pairs: list[Pair]) -> Figure:
    served, here = (median(answer.to_first for answer in side) for side in zip(*pairs, strict=True))
    return Figure(
        name="time to first token, added by serving",
        value=1000 * median(served.to_first - here.to_first for served, here in pairs),
        bound=5,
        unit=" ms",
        detail=f"{1000 * served:.1f} and {1000 * here:.1f} ms, {len(pairs)} rounds",
    )
