"""Two servers asked the same in turns, in rounds so short that the machine is the same for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from statistics import median

from msgspec import Struct

from bench.figure import Figure, Ratio
from bench.served import Server
from bench.wire import Client, Round

ROUNDS = 16
SECONDS = 0.2


class Comparison(Struct, frozen=True):
    """What the rounds gave, ours and the peer's, in the order in which they were asked."""

    ours: list[Round]
    peers: list[Round]

    def time(self, name: str, *, bound: float, ratio: float | None, detail: str = "") -> Figure:
        """How long an answer takes: the median one, in milliseconds."""
        of = self._medians(lambda round: 1000 * round.p50)
        against = self._ratio(lambda round: round.p50)
        return Figure(
            name=name,
            value=of[0],
            bound=bound,
            unit=" ms",
            ratio=Ratio(peer=of[1], value=against, bound=ratio),
            detail=detail or self._slow(),
        )

    def rate(
        self,
        name: str,
        *,
        bound: float,
        at_most: float | None = None,
        at_least: float | None = None,
        detail: str = "",
    ) -> Figure:
        """How many answers a second. The ratio is peer / ours `at_most`, or ours / peer."""
        of = self._medians(lambda round: round.rate)
        share = self._ratio(lambda round: round.rate)
        return Figure(
            name=name,
            value=of[0],
            bound=bound,
            unit="/s",
            is_floor=True,
            ratio=Ratio(peer=of[1], value=share, bound=at_least, is_floor=True)
            if at_most is None
            else Ratio(peer=of[1], value=1 / share, bound=at_most),
            detail=detail or self._slow(),
        )

    @property
    def p99(self) -> tuple[float, float]:
        """Milliseconds, ours and the peer's, of all rounds together."""
        ours, peers = (
            1000 * Round([t for round in side for t in round.times], 1).p99
            for side in (self.ours, self.peers)
        )
        return ours, peers

    def _medians(self, of: Callable[[Round], float]) -> tuple[float, float]:
        return median(map(of, self.ours)), median(map(of, self.peers))

    def _ratio(self, of: Callable[[Round], float]) -> float:
        pairs = zip(self.ours, self.peers, strict=True)
        return median(of(ours) / of(peer) for ours, peer in pairs)

    def _slow(self) -> str:
        ours, peers = self.p99
        p50, other = self._medians(lambda round: 1000 * round.p50)
        return f"p50 {p50:.2f} and {other:.2f} ms, p99 {ours:.2f} and {peers:.2f} ms"


def take_turns(
    ours: Server,
    peer: Server,
    requests: Sequence[Sequence[bytes]],
    *,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
) -> Comparison:
    """`requests` are each connection's own. The first round, which warms both up, is not counted;
    which of the two begins a round alternates."""
    with closing(Client(ours.port, requests)) as one, closing(Client(peer.port, requests)) as other:
        counted: tuple[list[Round], list[Round]] = ([], [])
        for number in range(rounds + 1):
            sides = [(one, counted[0]), (other, counted[1])]
            for client, results in sides if number % 2 else reversed(sides):
                results.append(client.run(seconds))
        return Comparison(counted[0][1:], counted[1][1:])
