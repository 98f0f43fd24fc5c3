"""What is to be done next, decided on plain values."""

from __future__ import annotations

from math import inf

import msgspec
import pytest

from jan_server.engines.base import ModelSpec
from jan_server.engines.schedule import (
    Action,
    Admit,
    Load,
    Room,
    Unload,
    Wanted,
    decide,
    next_expiry,
    without_slot,
)

ECHO = ModelSpec(id="e", engine="echo")
NOW = Wanted(ECHO)
CHANGED = Wanted(msgspec.structs.replace(ECHO, ctx_len=4096))
REWRITTEN = Wanted(ECHO, (123, 456))


@pytest.mark.parametrize(
    ("room", "action"),
    [
        (Room(id="e", status="absent"), None),
        (Room(id="e", status="loaded", holds=NOW), None),
        (Room(id="e", status="loaded", holds=NOW, users=2), None),
        (Room(id="e", status="dead", holds=NOW), None),
        (Room(id="e", status="absent", waiting=(NOW, CHANGED)), Load("e", NOW, inf)),
        (Room(id="e", status="starting", holds=NOW, waiting=(NOW,)), None),
        (Room(id="e", status="loaded", holds=NOW, waiting=(NOW, NOW)), Admit("e", 2)),
        (Room(id="e", status="loaded", holds=NOW, users=9, waiting=(NOW,)), Admit("e", 1)),
        (Room(id="e", status="loaded", holds=NOW, waiting=(NOW, CHANGED, NOW)), Admit("e", 1)),
        (
            Room(id="e", status="loaded", holds=NOW, waiting=(CHANGED, NOW)),
            Load("e", CHANGED, inf),
        ),
        (
            Room(id="e", status="loaded", holds=NOW, waiting=(REWRITTEN,)),
            Load("e", REWRITTEN, inf),
        ),
        (Room(id="e", status="loaded", holds=NOW, users=1, waiting=(CHANGED, NOW)), None),
        (Room(id="e", status="dead", holds=NOW, waiting=(NOW,)), Load("e", NOW, inf)),
        (Room(id="e", status="dead", holds=NOW, users=1, waiting=(NOW,)), None),
        (Room(id="e", status="stopping", waiting=(NOW,)), None),
    ],
)
def test_what_is_to_be_done_for_a_model(room: Room, action: Action | None) -> None:
    assert decide([room]) == ([action] if action else [])


def test_models_do_not_wait_for_each_other() -> None:
    rooms = [
        Room(id="changed", status="loaded", holds=NOW, users=1, waiting=(CHANGED,), came=1),
        Room(id="loaded", status="loaded", holds=NOW, waiting=(NOW,), came=2),
        Room(id="new", status="absent", waiting=(NOW,), came=3),
    ]
    assert decide(rooms) == [Admit("loaded", 1), Load("new", NOW, inf)]


@pytest.mark.parametrize(
    ("room", "is_unloaded"),
    [
        (Room(id="e", status="loaded", holds=NOW, expires=10), True),
        (Room(id="e", status="dead", holds=NOW, expires=9), True),
        (Room(id="e", status="loaded", holds=NOW, expires=10.1), False),
        (Room(id="e", status="loaded", holds=NOW, expires=inf), False),
        (Room(id="e", status="loaded", holds=NOW, expires=0, users=1), False),
        (Room(id="e", status="starting", holds=NOW, expires=0), False),
        (Room(id="e", status="absent", expires=0), False),
    ],
)
def test_an_unused_model_goes_when_its_time_is_over(room: Room, is_unloaded: bool) -> None:
    assert decide([room], now=10) == ([Unload("e")] if is_unloaded else [])


def test_one_who_comes_in_the_last_moment_has_the_model() -> None:
    room = Room(id="e", status="loaded", holds=NOW, waiting=(NOW,), expires=0)
    assert decide([room], now=10) == [Admit("e", 1)]


def test_the_next_expiry_is_that_of_an_unused_model() -> None:
    rooms = [
        Room(id="used", status="loaded", users=1, expires=1),
        Room(id="wanted", status="loaded", waiting=(NOW,), expires=2),
        Room(id="idle", status="loaded", expires=4),
        Room(id="dead", status="dead", expires=3),
        Room(id="absent", status="absent", expires=0),
    ]
    assert (next_expiry(rooms), next_expiry([])) == (3, inf)


@pytest.mark.parametrize(
    ("slots", "users", "waiting", "without"),
    [(1, 0, 0, -1), (1, 1, 0, 0), (4, 2, 0, -2), (2, 3, 0, 1), (1, 0, 3, 2), (2, 2, 2, 2)],
)
def test_how_many_have_no_slot(slots: int, users: int, waiting: int, without: int) -> None:
    room = Room(id="e", status="loaded", slots=slots, users=users, waiting=(NOW,) * waiting)
    assert without_slot(room) == without


# --- memory: a budget of 100; what is wanted is estimated at 60 ---------------------------------

BIG = Wanted(ModelSpec(id="big", engine="echo"), (1, 50))


def wanting(came: float = 0) -> Room:
    return Room(id="big", status="absent", waiting=(BIG,), came=came)


def there(id: str, memory: int, *, used: float = 0, users: int = 0, status: str = "loaded") -> Room:
    return Room(id=id, status=status, holds=NOW, memory=memory, used=used, users=users)


def test_what_a_model_takes_is_estimated_by_its_file() -> None:
    assert (BIG.memory, NOW.memory) == (60, 0)


@pytest.mark.parametrize(
    ("others", "actions"),
    [
        ([], [Load("big", BIG, 100)]),
        ([there("a", 40)], [Load("big", BIG, 60)]),
        ([there("a", 40, users=1)], [Load("big", BIG, 60)]),
        ([there("a", 41, status="dead")], [Load("big", BIG, 100)]),
        # It does not fit: the one unused for longest goes first, and no more than needed.
        ([there("a", 41)], [Unload("a")]),
        ([there("a", 30, used=2), there("b", 30, used=1)], [Unload("b")]),
        ([there("a", 30, used=1), there("b", 10, used=2), there("c", 30)], [Unload("c")]),
        ([there("a", 50, used=2), there("b", 50, used=1)], [Unload("b"), Unload("a")]),
        # Some who are used are waited for.
        ([there("a", 50, users=1)], []),
        ([there("a", 30, users=1), there("b", 30, used=9)], [Unload("b")]),
        # One that is on its way out is waited for, and nobody else has to go.
        ([there("a", 41, status="stopping")], []),
        ([there("a", 30, status="stopping"), there("b", 40)], []),
        ([there("a", 50, status="starting")], []),
        # One that takes nothing does not have to go.
        ([there("a", 0), there("b", 50, used=1)], [Unload("b")]),
    ],
)
def test_room_is_made_for_a_model(others: list[Room], actions: list[Action]) -> None:
    assert decide([*others, wanting()], budget=100) == actions


def test_a_model_too_large_for_the_whole_budget_is_loaded_alone() -> None:
    assert decide([there("a", 10), wanting()], budget=50) == [Unload("a")]
    assert decide([there("a", 0, users=1), wanting()], budget=50) == [Load("big", BIG, 50)]


def test_a_model_that_is_loaded_anew_gives_its_own_memory_back_first() -> None:
    anew = Room(id="big", status="loaded", holds=NOW, memory=90, waiting=(BIG,))
    assert decide([anew], budget=100) == [Load("big", BIG, 100)]


def test_two_that_come_at_once_do_not_both_get_the_same_memory() -> None:
    second = Wanted(ModelSpec(id="second", engine="echo"), (1, 50))
    rooms = [
        Room(id="second", status="absent", waiting=(second,), came=2),
        wanting(came=1),
    ]
    assert decide(rooms, budget=100) == [Load("big", BIG, 100)]


def test_those_who_come_after_one_that_waits_for_memory_wait_too() -> None:
    busy = Room(id="a", status="loaded", holds=NOW, memory=50, users=1, waiting=(NOW,), came=2)
    assert decide([busy, wanting(came=1)], budget=100) == []
    assert decide([busy, wanting(came=3)], budget=100) == [Admit("a", 1)]


def test_a_model_that_is_idle_but_wanted_later_goes_too() -> None:
    wanted = Room(id="a", status="loaded", holds=NOW, memory=50, waiting=(NOW,), came=2)
    assert decide([wanted, wanting(came=1)], budget=100) == [Unload("a")]
    assert decide([wanted, wanting(came=3)], budget=100) == [Admit("a", 1)]
