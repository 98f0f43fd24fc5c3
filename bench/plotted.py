"""How the decode rate falls with the length of the context: a picture of ours and the peer's."""

from __future__ import annotations

from pathlib import Path

from bench.against import both, take_turns, told
from bench.figure import Figure, Ratio
from bench.streamed import Client
from bench.subject import Answer, Question, Subject

PICTURE = Path(__file__).parent / "decode.png"
WORDS = (20, 240, 480, 960, 1900, 3000)
ROUNDS = 3


def measure(subject: Subject) -> list[Figure]:
    points: list[tuple[int, float, float]] = []
    with both(subject) as sides:
        for words in WORDS:

            def ask(client: Client, number: int, words: int = words) -> list[Answer]:
                question = Question(
                    text=told(number + words, words), max_tokens=48, more={"ignore_eos": True}
                )
                return [client.answer(question)]

            rounds = take_turns(sides, ask, ROUNDS)
            ours, peers = rounds.medians(lambda answer: answer.rate)
            points.append((rounds.ours[0].prompt_tokens, ours, peers))
    _draw(points, subject.model)
    return [
        Figure(
            name=f"decode behind {tokens:,} tokens",
            value=ours,
            bound=peers,
            unit="/s",
            is_floor=True,
            ratio=Ratio(peer=peers, value=ours / peers, bound=1.0, is_floor=True),
            detail=f"48 tokens, {ROUNDS} rounds",
        )
        for tokens, ours, peers in points
    ]


def _draw(points: list[tuple[int, float, float]], model: str) -> None:
    import matplotlib.pyplot as plot

    tokens, ours, peers = zip(*points, strict=True)
    figure, axes = plot.subplots(figsize=(7, 4))
    axes.plot(tokens, ours, marker="o", label="jan_server, ctransformers")
    axes.plot(tokens, peers, marker="s", label="llama-server")
    axes.set(xlabel="tokens of context", ylabel="tokens a second", title=f"Decoding, {model}")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=110)
    plot.close(figure)
