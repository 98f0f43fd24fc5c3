"""The messages of a thread: all of a thousand, and the last of a hundred thousand."""

from __future__ import annotations

from bench.figure import Figure
from bench.folder import add_messages, made, thread_id
from bench.lists import answer
from bench.served import Server, serving, serving_bare
from bench.subject import Subject
from bench.turns import take_turns
from bench.wire import get

ALL = get(f"/v1/threads/{thread_id(0)}/messages")
LAST = get(f"/v1/threads/{thread_id(1)}/messages?limit=20&order=desc")


def measure(_: Subject) -> list[Figure]:
    with made(2) as folder:
        add_messages(folder, thread_id(0), count=1000)
        add_messages(folder, thread_id(1), count=100_000)
        with serving(folder) as server:
            return [*_all(server), _last(server)]


def _all(server: Server) -> list[Figure]:
    with serving_bare(answer(server, ALL)) as bare:
        one = take_turns(server, bare, [[ALL]])
        four = take_turns(server, bare, [[ALL]] * 4)
    return [
        one.time("1,000 messages of 500 bytes, p50", bound=4, ratio=1.8),
        four.rate("the same, 4 connections", bound=500, at_most=1.8),
    ]


def _last(server: Server) -> Figure:
    with serving_bare(answer(server, LAST)) as bare:
        return take_turns(server, bare, [[LAST]]).time(
            "the last 20 of 100,000 messages, p50", bound=2, ratio=1.8
        )
