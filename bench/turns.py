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
    """What the rounds gave, ours and the peer's, in the order in which they were asked.

    `cpu` are the milliseconds of processor time that an answer took of each server: what a busy
    machine does not change. None where the system does not say.
    """

    ours: list[Round]
    peers: list[Round]
    cpu: tuple[float | None, float | None]

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
            detail=self._beside(detail),
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
            detail=self._beside(detail),
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

    def _beside(self, detail: str) -> str:
        p50 = _both(self._medians(lambda round: 1000 * round.p50))
        return "; ".join(
            [
                f"p50 {p50}, p99 {_both(self.p99)} ms",
                *([f"processor {_both(self.cpu)} ms"] if None not in self.cpu else []),
                *([detail] if detail else []),
            ]
        )


def _both(values: tuple[float | None, float | None]) -> str:
    return " and ".join(f"{value:.2f}" for value in values if value is not None)


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
    sides = [(ours, Client(ours.port, requests)), (peer, Client(peer.port, requests))]
    with closing(sides[0][1]), closing(sides[1][1]):
        for _, client in sides:
            client.run(seconds)
        before = [server.cpu() for server, _ in sides]
        counted: list[list[Round]] = [[], []]
        for number in range(rounds):
            for side in (0, 1) if number % 2 else (1, 0):
                counted[side].append(sides[side][1].run(seconds))
        after = [server.cpu() for server, _ in sides]
    ours_cpu, peers_cpu = map(_each, before, after, counted)
    return Comparison(counted[0], counted[1], (ours_cpu, peers_cpu))


def _each(before: float | None, after: float | None, rounds: list[Round]) -> float | None:
    """Milliseconds an answer."""
    if before is None or after is None:
        return None
    return 1000 * (after - before) / sum(len(round.times) for round in rounds)
