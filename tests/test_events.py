"""The hub: who hears what, what is kept, and what is said to those who come too late."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any, NamedTuple

import pytest

from jan_server.events import Event, Hub, Resync, Told, unheard

Listener = AsyncIterator[Told | Resync]

UNKNOWN = "no event had this id"
OTHER_RUN = "the id is of another run of the server"
PASSED_OVER = "the events after this id are not kept any more"
TOO_SLOW = "the listener was too slow"


class Stored(NamedTuple):
    raw: bytes


def publish(hub: Hub, *numbers: int, resource: object = None) -> None:
    for number in numbers:
        hub.publish(
            Event(kind="thread", id=str(number), change="updated", cause="file", resource=resource)
        )


async def take(listener: Listener, count: int) -> list[str]:
    """The ids of the resources in so many events; of a Resync its reason."""
    async with asyncio.timeout(10):
        items = [await anext(listener) for _ in range(count)]
    return [item.reason if isinstance(item, Resync) else item.event.id for item in items]


async def heard(hub: Hub, count: int) -> list[str]:
    """The ids to go on after, of so many new events."""
    listener, ids = hub.listen(), []
    for number in range(count):
        publish(hub, number)
        ids.append((await anext(listener)).id)
    return ids


def scene(play: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(play, 60))


def test_all_who_listen_hear_the_same_each_from_its_beginning_on() -> None:
    async def play() -> None:
        hub = Hub()
        one = hub.listen()
        publish(hub, 1)
        two = hub.listen()
        publish(hub, 2)
        assert await take(one, 2) == ["1", "2"]
        assert await take(two, 1) == ["2"]

    scene(play())


def test_who_waits_hears_what_other_threads_publish() -> None:
    async def play() -> None:
        hub = Hub()
        waiting = [asyncio.create_task(take(hub.listen(), 200)) for _ in range(10)]
        await asyncio.sleep(0)
        threads = [threading.Thread(target=publish, args=(hub, *range(50))) for _ in range(4)]
        for thread in threads:
            thread.start()
        first, *others = [await each for each in waiting]
        assert others == [first] * 9
        assert sorted(first, key=int) == [str(n) for n in range(50) for _ in range(4)]
        for thread in threads:
            thread.join()

    scene(play())


def test_after_an_id_comes_what_followed_it() -> None:
    async def play() -> None:
        hub = Hub()
        ids = await heard(hub, 4)
        assert await take(hub.listen(after=ids[1]), 2) == ["2", "3"]
        at_the_end = hub.listen(after=ids[3])
        publish(hub, 4)
        assert await take(at_the_end, 1) == ["4"]

    scene(play())


@pytest.mark.parametrize(
    ("id", "reason"),
    [
        ("{run}-10", None),
        ("{run}-2", None),
        ("{run}-0", PASSED_OVER),
        ("{run}-11", UNKNOWN),
        ("{run}-", UNKNOWN),
        ("{run}--1", OTHER_RUN),
        ("{run}-1.0", UNKNOWN),
        ("{run}-٣", UNKNOWN),
        ("{run}-" + "1" * 5000, UNKNOWN),
        ("00000000-10", OTHER_RUN),
        ("{run}", OTHER_RUN),
        ("-", OTHER_RUN),
        ("", None),
        (None, None),
    ],
)
def test_an_id_that_cannot_be_gone_on_after_is_said(id: str | None, reason: str | None) -> None:
    async def play() -> None:
        hub = Hub(capacity=9)
        [last] = (await heard(hub, 10))[-1:]
        run = last.removesuffix("-10")
        listener = hub.listen(after=id and id.format(run=run))
        publish(hub, 11)
        items = [await anext(listener)]
        if reason is None:
            assert not isinstance(items[0], Resync)
        else:
            assert items == [Resync(id=f"{run}-10", reason=reason)]
            assert await take(listener, 1) == ["11"]

    scene(play())


def test_who_is_too_slow_loses_what_is_not_kept_and_is_told() -> None:
    async def play() -> None:
        hub = Hub(capacity=3)
        slow = hub.listen()
        publish(hub, 1, 2)
        assert await take(slow, 1) == ["1"]
        publish(hub, *range(3, 10))
        assert await take(slow, 1) == [TOO_SLOW]
        publish(hub, 10)
        assert await take(slow, 1) == ["10"]

    scene(play())


def test_resources_are_held_only_as_long_as_they_weigh_little() -> None:
    async def play() -> None:
        hub = Hub(max_weight=100)
        listener, ids = hub.listen(), []
        publish(hub, 1, 2, resource=Stored(b"x" * 40))
        ids = [(await anext(listener)).id for _ in "ab"]
        publish(hub, 3, resource=Stored(b"x" * 40))
        assert await take(hub.listen(after=ids[0]), 2) == ["2", "3"]
        publish(hub, 4, resource=Stored(b"x" * 1000))
        assert await take(hub.listen(after=ids[1]), 1) == [PASSED_OVER]
        assert await take(listener, 1) == [TOO_SLOW]
        assert repr(hub).endswith("1 kept of 4>")

    scene(play())


def test_who_leaves_while_waiting_leaves_nothing_behind() -> None:
    async def play() -> None:
        hub = Hub()
        async with aclosing(hub.listen()) as listener:
            waiting = asyncio.create_task(anext(listener))
            await asyncio.sleep(0)
            assert [len(each) for each in hub._waiting.values()] == [1]
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        assert [len(each) for each in hub._waiting.values()] == [0]
        publish(hub, 1)

    scene(play())


def test_one_who_left_at_the_same_moment_is_no_hindrance_to_others() -> None:
    async def play() -> None:
        hub = Hub()
        leaving = asyncio.create_task(take(hub.listen(), 1))
        staying = asyncio.create_task(take(hub.listen(), 1))
        await asyncio.sleep(0)
        publish(hub, 1)
        leaving.cancel()
        assert await staying == ["1"]

    scene(play())


def test_closing_ends_all_who_listen() -> None:
    async def play() -> None:
        hub = Hub()
        waiting = asyncio.create_task(anext(hub.listen(), None))
        behind = hub.listen()
        await asyncio.sleep(0)
        hub.close()
        assert await waiting is None
        publish(hub, 1)
        assert [item async for item in behind] == []
        assert [item async for item in hub.listen(after="x-1")] == [
            Resync(id=f"{hub._run}-0", reason=OTHER_RUN)
        ]
        assert repr(hub) == f"<Hub {hub._run} closed>"

    scene(play())


def test_a_loop_that_was_closed_under_a_listener_is_passed_over() -> None:
    hub = Hub()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(take(hub.listen(), 1))
    loop.run_until_complete(asyncio.sleep(0))
    closed = asyncio.new_event_loop()
    closed.close()
    hub._waiting[closed] = set()
    publish(hub, 1)
    assert loop.run_until_complete(waiting) == ["1"]
    loop.close()


def test_what_is_published_right_before_waiting_is_not_missed() -> None:
    class Late(Hub):
        """Another thread publishes between a listener's looking and its waiting."""

        async def _news(self, place: int) -> None:
            publish(self, 1)
            await super()._news(place)

    async def play() -> None:
        assert await take(Late().listen(), 1) == ["1"]

    scene(play())


def test_publishing_costs_no_more_the_more_is_kept() -> None:
    """Each one drops another then."""
    few, many = Hub(capacity=10), Hub(capacity=100_000)
    publish(many, *range(100_000))
    event = Event(kind="thread", id="x", change="updated", cause="api")
    rounds = [(_seconds(few, event), _seconds(many, event)) for _ in range(20)]
    alone, among_many = map(min, zip(*rounds, strict=True))
    assert among_many < 20 * alone
    unheard(event)


def _seconds(hub: Hub, event: Event) -> float:
    """Of the processor: what else the machine does is not counted."""
    began = time.thread_time()
    for _ in range(100):
        hub.publish(event)
    return time.thread_time() - began
