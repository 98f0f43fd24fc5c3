"""What is told of answers that wait; `test_child.py` has the rest."""

from __future__ import annotations

from array import array
from collections.abc import Callable

from jan_server.engines import wire
from jan_server.engines.base import EmbeddingRequest, GenerationRequest, Queued, Request
from jan_server.engines.dispatch import Dispatch, Job

REQUEST = EmbeddingRequest(prompt="")


def dispatch(slots: int) -> tuple[Dispatch, list[wire.Reply], Callable[[int], None]]:
    said: list[wire.Reply] = []
    dispatch = Dispatch(slots, held=lambda slot: (), send=said.append)

    def add(id: int) -> None:
        dispatch.expect(id)
        dispatch.add(Job(id, "", REQUEST, array("i", [1])))

    return dispatch, said, add


def test_nobody_waits_while_a_slot_is_free() -> None:
    two, said, add = dispatch(2)
    add(1)
    add(2)
    assert (repr(two), said) == ("<Dispatch 2 at work, 0 waiting>", [])


def test_a_place_is_told_once() -> None:
    one, said, add = dispatch(1)
    for id in (1, 2, 3):
        add(id)
    assert said == [wire.Emitted(2, Queued(0)), wire.Emitted(3, Queued(1))]
    assert repr(one) == "<Dispatch 1 at work, 2 waiting>"
    one.release(0)
    assert said[2:] == [wire.Emitted(3, Queued(0))]


def test_who_was_answered_lets_those_who_came_meanwhile_go_first() -> None:
    one, _, _ = dispatch(1)
    for id, client in ((1, "A"), (2, "A"), (3, "B")):
        one.add(Job(id, client, REQUEST, array("i", [1])))
    one.release(0)
    given = [one.next(0), one.next(0)]
    assert [job.id for job in given if job] == [1, 3]


def test_the_slot_of_an_embedding_is_for_the_next_chat() -> None:
    two, _, _ = dispatch(2)
    chat, embedding = GenerationRequest(prompt=""), REQUEST
    requests: tuple[Request, ...] = (chat, embedding)
    for slot, request in enumerate(requests):
        two.add(Job(slot, "", request, array("i", [1])))
        two.next(slot)
    two.release(0)
    two.release(1)
    two.add(Job(2, "", chat, array("i", [2])))
    assert [two.is_wanted(slot, within=0) for slot in (0, 1)] == [False, True]


def test_after_close_there_is_nothing_more_to_do() -> None:
    one, said, add = dispatch(1)
    add(1)
    add(2)
    one.close()
    add(3)
    assert said[1:] == [wire.Cancelled(2), wire.Cancelled(3)]
    assert (one.next(0), one.next(0)) == (Job(1, "", REQUEST, array("i", [1])), None)
