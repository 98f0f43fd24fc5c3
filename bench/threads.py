"""One thread among ten thousand, another one each time."""

from __future__ import annotations

import random

from bench.figure import Figure
from bench.folder import made, thread_id
from bench.lists import ALL, THREADS, answer
from bench.served import serving, serving_bare
from bench.subject import Subject
from bench.turns import take_turns
from bench.wire import get


def measure(_: Subject) -> list[Figure]:
    numbers = list(range(THREADS))
    random.Random(1).shuffle(numbers)
    requests = [get(f"/v1/threads/{thread_id(number)}") for number in numbers]
    with made(THREADS) as folder, serving(folder) as server:
        answer(server, ALL)
        # Every thread's answer has the same length.
        with serving_bare(answer(server, requests[0])) as bare:
            one = take_turns(server, bare, [requests])
            four = take_turns(server, bare, [requests[part::4] for part in range(4)])
    return [
        one.time(f"one thread among {THREADS:,}, p50", bound=1.5, ratio=1.6),
        four.rate("the same, 4 connections", bound=2200, at_most=1.6),
    ]
