"""How many slots there is room for."""

from __future__ import annotations

import pytest

from jan_server.engines import machine
from jan_server.engines.base import ModelSpec
from jan_server.engines.decoding.sizing import choose_slots, threads_of


@pytest.mark.parametrize(
    ("asked", "memory", "slots"),
    [
        (None, None, 1),
        (None, 0, 1),
        (None, 1000 + 99, 1),
        (None, 1000 + 250, 2),
        (None, 1000 + 400, 4),
        (None, 10**9, 4),
        (7, 0, 7),
        (1, 10**9, 1),
        (0, None, 1),
    ],
)
def test_there_are_up_to_four_slots_as_memory_has_room(
    asked: int | None, memory: int | None, slots: int
) -> None:
    assert choose_slots(asked, weights=1000, each=100, memory=memory) == slots


@pytest.mark.parametrize(
    ("asked", "threads"), [(3, 3), (8, 8), (9, 8), (None, machine.physical_cores())]
)
def test_threads_are_those_asked_for_else_one_for_each_core_and_no_more_than_cpus(
    asked: int | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "usable_cpus", lambda: set(range(8)))
    assert threads_of(ModelSpec(id="m", engine="e", threads=asked)) == threads
