"""Cores shared by the answers that are computed at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from jan_server.engines.decoding import cores as cores_module
from jan_server.engines.decoding.cores import Cores, share


@pytest.mark.parametrize(
    ("cores", "answers", "threads"),
    [(2, 0, 2), (2, 1, 2), (2, 2, 1), (2, 5, 1), (8, 3, 2), (1, 1, 1), (8, 1, 8)],
)
def test_the_cores_are_shared_evenly(cores: int, answers: int, threads: int) -> None:
    assert share(cores, answers) == threads


def test_an_answer_alone_has_all_cores_and_two_have_half() -> None:
    cores = Cores(4)
    with cores.answering(), cores.evaluating() as threads:
        assert threads == 4
        assert repr(cores) == "<Cores 0 of 4 free, 1 answers>"
    with (
        cores.answering(),
        cores.answering(),
        cores.evaluating() as first,
        cores.evaluating() as second,
    ):
        assert (first, second) == (2, 2)
    assert repr(cores) == "<Cores 4 of 4 free, 0 answers>"


def test_what_finds_no_core_free_waits_in_the_order_it_came() -> None:
    cores = Cores(1)
    order: list[int] = []

    def evaluate(number: int) -> None:
        with cores.evaluating():
            order.append(number)

    with ThreadPoolExecutor(3) as threads, ExitStack() as held:
        held.enter_context(cores.evaluating())
        waiting = []
        for number in range(3):
            waiting.append(threads.submit(evaluate, number))
            while len(cores._waiting) <= number:
                threading.Event().wait(0.001)
        assert order == []
        held.close()
        for future in waiting:
            future.result(timeout=60)
    assert order == [0, 1, 2]
    assert cores._free == 1


def test_one_who_needs_little_does_not_overtake_one_who_needs_all() -> None:
    cores = Cores(2)
    order: list[str] = []

    def evaluate(name: str) -> None:
        with cores.evaluating():
            order.append(name)

    def wait_for(count: int) -> None:
        while len(cores._waiting) < count:
            threading.Event().wait(0.001)

    with ThreadPoolExecutor(2) as threads, ExitStack() as held:
        with cores.answering(), cores.answering():
            held.enter_context(cores.evaluating())  # one core
        all_of_them = threads.submit(evaluate, "two cores")
        wait_for(1)
        with cores.answering(), cores.answering():
            one_of_them = threads.submit(evaluate, "one core")
            wait_for(2)
        held.close()
        all_of_them.result(timeout=60)
        one_of_them.result(timeout=60)
    assert order == ["two cores", "one core"]


def test_a_failed_evaluation_gives_its_cores_back() -> None:
    cores = Cores(2)
    with pytest.raises(ValueError, match="no"), cores.evaluating():
        raise ValueError("no")
    assert repr(cores) == "<Cores 2 of 2 free, 0 answers>"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What time it is, and how much of the processor was used."""
    clock = SimpleNamespace(now=100.0, used=0.0)
    times = SimpleNamespace(monotonic=lambda: clock.now, process_time=lambda: clock.used)
    monkeypatch.setattr(cores_module, "time", times)
    return clock


def test_while_others_take_the_cores_half_the_threads_are_used(clock: SimpleNamespace) -> None:
    cores, used = Cores(2), []
    for left in (0.9, 0.9, 0.3, 0.3, 0.3):
        with cores.evaluating(64, "kind") as threads:
            used.append(threads)
            clock.now += 0.5
            clock.used += 0.5 * threads * left
    assert used == [2, 2, 2, 1, 1]
    clock.now += 100
    with cores.evaluating() as threads:
        assert threads == 2


def test_two_answers_that_use_all_they_are_given_keep_their_threads(clock: SimpleNamespace) -> None:
    """One of the two began while the other was under way, and ends after it."""
    cores = Cores(4)
    with cores.answering(), cores.answering(), ExitStack() as second:
        for _ in range(3):
            with cores.evaluating(64, "kind") as threads:
                assert threads == 2
                clock.now += 1
                clock.used += 2
                assert second.enter_context(cores.evaluating(64, "kind")) == 2
                clock.now += 1
                clock.used += 4
            clock.now += 1
            clock.used += 2
            second.close()


def test_what_is_of_no_kind_tells_nothing(clock: SimpleNamespace) -> None:
    cores = Cores(2)
    for _ in range(3):
        with cores.evaluating(64) as threads:
            assert threads == 2
            clock.now += 1


def test_one_thread_waits_for_none_however_little_it_has(clock: SimpleNamespace) -> None:
    cores = Cores(2)
    with cores.answering(), cores.answering():
        for _ in range(3):
            with cores.evaluating(64, "kind"):
                clock.now += 10
    with cores.evaluating() as threads:
        assert threads == 2
