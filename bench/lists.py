"""The list of ten thousand threads: asked again and again, after a change, and a page of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

from bench.figure import Figure, Ratio
from bench.folder import made, thread_id
from bench.served import Server, serving, serving_bare
from bench.subject import Subject
from bench.turns import take_turns
from bench.watching import Unheard, Watch
from bench.wire import Connection, get, post

THREADS = 10_000
CHANGES = 25
EDITED = 1000
"""The first of those that are edited by hand: none of those that were changed before."""
ALL = get("/v1/threads")
PAGE = get("/v1/threads?limit=20")


def measure(_: Subject) -> list[Figure]:
    with made(THREADS) as folder, serving(folder) as server:
        return [*_whole(server), *_after_changes(server, folder), _page(server)]


def _whole(server: Server) -> list[Figure]:
    body = answer(server, ALL)
    with serving_bare(body) as bare:
        one = take_turns(server, bare, [[ALL]])
        four = take_turns(server, bare, [[ALL]] * 4)
    size = f"{len(body) / 1e6:.2f} MB"
    return [
        one.time(f"list of {THREADS:,} threads ({size}), p50", bound=6, ratio=1.6),
        four.rate("the same, 4 connections", bound=500, at_most=1.6),
    ]


def _after_changes(server: Server, folder: Path) -> list[Figure]:
    with serving_bare(answer(server, ALL)) as bare, closing(Connection(bare.port)) as peer:
        peers = median(peer.time(ALL) for _ in range(CHANGES))
        through_api = _first_lists(server, _changing_through_api(server))
        by_hand = _after_hand_edits(server, folder)
    return [
        _first("through the API", through_api, peers),
        by_hand if isinstance(by_hand, Figure) else _first("by hand", by_hand, peers),
    ]


def _after_hand_edits(server: Server, folder: Path) -> list[float] | Figure:
    with closing(Watch(server.port)) as watch:

        def change(number: int) -> None:
            watch.wait(_edit(folder, number))

        try:
            watch.settle(lambda number: _edit(folder, CHANGES + number))
            return _first_lists(server, change)
        except Unheard as error:
            return Figure(
                name=_name("by hand"), value=None, bound=25, unit=" ms", detail=str(error)
            )


def _edit(folder: Path, number: int) -> bytes:
    """Another title, as an editor saves it in place; the id that its event holds."""
    id = thread_id(EDITED + number)
    path = folder / "threads" / id / "thread.json"
    path.write_bytes(path.read_bytes().replace(b'"Thread ', b'"Edited '))
    return f'"{id}"'.encode()


def _changing_through_api(server: Server) -> Callable[[int], None]:
    connection = Connection(server.port)

    def change(number: int) -> None:
        path = f"/v1/threads/{thread_id(number)}"
        connection.time(post(path, b'{"title":"Changed %07d"}' % number, method="PATCH"))

    return change


def _first_lists(server: Server, change: Callable[[int], None]) -> list[float]:
    """Seconds of the list right after each change, which is warm but for that change."""
    times = []
    with closing(Connection(server.port)) as connection:
        for number in range(CHANGES):
            change(number)
            times.append(connection.time(ALL))
            connection.time(ALL)
            time.sleep(0.02)
    return times


def _first(how: str, times: list[float], peers: float) -> Figure:
    return Figure(
        name=_name(how),
        value=1000 * median(times),
        bound=25,
        unit=" ms",
        ratio=Ratio(peer=1000 * peers, value=median(times) / peers),
        detail=f"slowest {1000 * max(times):.1f} ms of {len(times)}",
    )


def _name(how: str) -> str:
    return f"the first such list after one thread changed {how}"


def _page(server: Server) -> Figure:
    with serving_bare(answer(server, PAGE)) as bare:
        return take_turns(server, bare, [[PAGE]]).time(
            "the same with limit=20, p50", bound=1.5, ratio=1.6
        )


def answer(server: Server, request: bytes) -> bytes:
    """The body of a good answer."""
    with closing(Connection(server.port)) as connection:
        status, body = connection.ask(request)
    if status != 200:
        raise RuntimeError(f"{request!r} was answered {status}: {body[:500]!r}")
    return body
