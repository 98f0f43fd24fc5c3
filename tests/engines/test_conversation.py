"""What a child says of a command, and of what it must say something: plain lists."""

from __future__ import annotations

import pytest

from jan_server.engines import wire
from jan_server.engines.base import Accepted, Event, Piece, Progress, Queued, Started
from jan_server.engines.conversation import Conversation, look, must_speak

STAGES: dict[str, list[Event]] = {
    "arriving": [],
    "accepted": [Accepted(3)],
    "queued": [Accepted(3), Queued(0)],
    "started": [Accepted(3), Queued(0), Started()],
    "answering": [Accepted(3), Started(), Progress(3), Piece("a")],
}


def conversation(stage: str, id: int = 1) -> Conversation:
    made = Conversation(None if stage == "loading" else id)
    for event in STAGES.get(stage, []):
        made.hear(wire.Emitted(id, event))
    return made


@pytest.mark.parametrize(
    ("stages", "slots", "speaking"),
    [
        ([], 1, []),
        (["loading"], 1, [0]),
        # The child tokenises one after the other.
        (["arriving", "arriving"], 1, [0]),
        (["started", "arriving", "arriving"], 1, [0, 1]),
        # Who waits has its turn when a slot is free.
        (["accepted"], 1, [0]),
        (["queued", "queued"], 1, [0, 1]),
        (["started", "accepted", "queued"], 1, [0]),
        (["started", "queued"], 2, [0, 1]),
        (["started", "answering", "queued"], 2, [0, 1]),
    ],
)
def test_of_what_a_child_that_works_will_speak(
    stages: list[str], slots: int, speaking: list[int]
) -> None:
    there = [conversation(stage, id) for id, stage in enumerate(stages)]
    assert {there.index(one) for one in must_speak(there, slots=slots)} == set(speaking)


def test_a_child_that_loads_is_quiet_until_it_is_seen_to_work() -> None:
    loading = conversation("loading")
    seen = [False, False, True, False]
    assert [look([loading], slots=1, works=works) for works in seen] == [1, 2, 0, 1]
    answering = conversation("answering", 2)
    assert [look([answering], slots=1, works=True) for _ in range(2)] == [1, 2]


def test_looks_are_counted_while_it_must_speak_and_does_not() -> None:
    first, second = conversation("started"), conversation("queued", 2)
    assert [look([first, second], slots=1) for _ in range(3)] == [1, 2, 3]
    first.hear(wire.Emitted(1, Piece("a")))
    assert look([first, second], slots=1) == 1
    assert [look([second], slots=1) for _ in range(2)] == [1, 2]
    third = conversation("started", 3)
    assert look([second, third], slots=1) == 1
    assert look([second], slots=1) == 1
    assert look([], slots=1) == 0


def test_its_repr_tells_its_stage() -> None:
    told = conversation("queued", 7)
    look([told], slots=1)
    assert repr(told) == "<Conversation 7 waiting, quiet for 1 looks>"
