"""The engine against llama-server: the same file, the same number of threads, both over HTTP.

The two take turns and which one begins alternates; figures are medians of the rounds' ratios. Each
round asks what neither has heard before, so that no cache answers for the model; where a later turn
is measured, each side continues its own conversation.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct

from bench.figure import Figure, Ratio
from bench.peer import serving_llama
from bench.served import serving
from bench.streamed import Client
from bench.subject import Answer, Question, Subject
from jan_server.engines.decoding.sizing import threads_of

CONTEXT = 4096
ROUNDS = 9
SLOTS = 4
FOREVER = {"ignore_eos": True}

Ask = Callable[[Client, int], list[Answer]]
"""What one side is asked in one round, and what is measured of it."""


class Rounds(Struct, frozen=True):
    """What the rounds gave, ours and the peer's."""

    ours: list[Answer]
    peers: list[Answer]

    def ratio(self, of: Callable[[Answer], float]) -> float:
        return median(of(own) / of(peer) for own, peer in zip(self.ours, self.peers, strict=True))

    def medians(self, of: Callable[[Answer], float]) -> tuple[float, float]:
        return median(map(of, self.ours)), median(map(of, self.peers))


def measure(subject: Subject) -> list[Figure]:
    with both(subject) as sides:
        with _a_busy_program():
            beside = take_turns(sides, _decode_beside)
        return [
            _rate("decode of 96 tokens", take_turns(sides, _decode), bound=1.10),
            _rate("the same behind 700 tokens", take_turns(sides, _decode_far), bound=1.25),
            _first("second turn of 650 tokens, first token", take_turns(sides, _second), 0.90),
            _first("first turn of 30 tokens, first token", take_turns(sides, _short), 1.10),
            _prefill(take_turns(sides, _cold)),
            _first("four chats in turn, second turns", take_turns(sides, _four), 1.00),
            _rate("decode of 96 tokens, beside a busy program", beside, bound=1.10),
        ]


@contextmanager
def both(subject: Subject) -> Iterator[tuple[Client, Client]]:
    """A client of ours and one of the peer's, the models loaded."""
    spec = subject.spec()
    threads = threads_of(spec)
    _read_anew([Path(spec.path), *Path(spec.work_folder).glob("*.gguf")])
    with ExitStack() as opened:
        server = opened.enter_context(
            serving(subject.data_folder, "--threads", str(threads), "--n-parallel", str(SLOTS))
        )
        peer = opened.enter_context(
            serving_llama(spec.path, threads=threads, context=CONTEXT, slots=SLOTS)
        )
        sides = Client(server.port, subject.model), Client(peer.port, subject.model)
        for client in sides:
            opened.callback(client.close)
            client.answer(Question(text="Hello", max_tokens=8, more=FOREVER))
        yield sides


def _read_anew(files: Iterable[Path]) -> None:
    """From the disk: in what pieces a file came to lie in memory makes up to 8 % of a token."""
    for path in files if sys.platform == "linux" else ():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def _a_busy_program() -> Iterator[None]:
    """As a browser or a compiler is one: it wants a whole core."""
    program = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        program.kill()
        program.wait()


def take_turns(sides: tuple[Client, Client], ask: Ask, rounds: int = ROUNDS) -> Rounds:
    """The first round is not counted."""
    found: tuple[list[Answer], list[Answer]] = [], []
    for number in range(rounds + 1):
        for side in (0, 1) if number % 2 else (1, 0):
            answers = ask(sides[side], number)
            found[side].extend(answers if number else [])
    return Rounds(*found)


# So that no two questions begin alike: a word for each digit.
_DIGITS = (
    "harbour",
    "meadow",
    "lantern",
    "quarry",
    "orchard",
    "granite",
    "thistle",
    "copper",
    "willow",
    "ember",
)
_STORY = """
In the small town by the river people kept long records of weather trade and travel and every spring
they read them aloud in the hall while children listened to the names of ships and storms that had
come before and the old clerk added a line for the year that was
"""
_WORDS = _STORY.split()


def told(number: int, words: int) -> str:
    """A text of so many words, different from its beginning for each number."""
    name = " ".join(_DIGITS[int(digit)] for digit in str(number + 1000))
    rest = [_WORDS[(place * (number + 7)) % len(_WORDS)] for place in range(words)]
    return f"{name}: {' '.join(rest)}"


def _decode(client: Client, number: int) -> list[Answer]:
    return [client.answer(Question(text=told(number, 12), max_tokens=96, more=FOREVER))]


def _decode_far(client: Client, number: int) -> list[Answer]:
    return [client.answer(Question(text=told(number + 100, 640), max_tokens=96, more=FOREVER))]


def _decode_beside(client: Client, number: int) -> list[Answer]:
    return _decode(client, number + 50)


def _short(client: Client, number: int) -> list[Answer]:
    return [client.answer(Question(text=told(number + 200, 8), max_tokens=4, more=FOREVER))]


def _cold(client: Client, number: int) -> list[Answer]:
    return [client.answer(Question(text=told(number + 300, 600), max_tokens=2, more=FOREVER))]


def _second(client: Client, number: int) -> list[Answer]:
    first = Question(text=told(number + 400, 600), max_tokens=12, more=FOREVER)
    return [client.answer(_next_turn(first, client.answer(first)))]


def _four(client: Client, number: int) -> list[Answer]:
    firsts = [
        Question(text=told(4 * number + chat + 500, 150), max_tokens=12, more=FOREVER)
        for chat in range(SLOTS)
    ]
    answers = [client.answer(first) for first in firsts]
    seconds = map(_next_turn, firsts, answers)
    return [client.answer(second) for second in seconds]


def _next_turn(first: Question, answer: Answer) -> Question:
    return msgspec.structs.replace(
        first, text="And what happened in the year after that?", before=((first.text, answer.text),)
    )


def _rate(name: str, rounds: Rounds, *, bound: float) -> Figure:
    return _compared(name, rounds, lambda answer: answer.rate, "/s", bound=bound, is_floor=True)


def _first(name: str, rounds: Rounds, bound: float) -> Figure:
    return _compared(name, rounds, lambda answer: 1000 * answer.to_first, " ms", bound=bound)


def _prefill(rounds: Rounds) -> Figure:
    return _compared(
        "cold prompt of 650 tokens, tokens a second",
        rounds,
        lambda answer: answer.prompt_tokens / answer.to_first,
        "/s",
        bound=0.84,
        is_floor=True,
    )


def _compared(
    name: str,
    rounds: Rounds,
    of: Callable[[Answer], float],
    unit: str,
    *,
    bound: float,
    is_floor: bool = False,
) -> Figure:
    ours, peers = rounds.medians(of)
    return Figure(
        name=name,
        value=ours,
        bound=peers * bound,
        unit=unit,
        is_floor=is_floor,
        ratio=Ratio(peer=peers, value=rounds.ratio(of), bound=bound, is_floor=is_floor),
        detail=f"{_spread(rounds.ours, of)} and {_spread(rounds.peers, of)}, "
        f"{len(rounds.ours)} answers each",
    )


def _spread(answers: Sequence[Answer], of: Callable[[Answer], float]) -> str:
    values = [of(answer) for answer in answers]
    return f"{min(values):.0f} to {max(values):.0f}"
