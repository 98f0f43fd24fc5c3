"""Clients take turns, whatever each has sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from jan_server.engines.order import Waiting, in_order

# Who waits, by arrival (the first arrived at 1); whose answers are at work; when clients were last
# served; and the order as the places in the first list.
ORDERS: dict[str, tuple[str, str, Mapping[str, int], Sequence[int]]] = {
    "nobody": ("", "", {}, []),
    "one client goes by arrival": ("AAA", "", {}, [1, 2, 3]),
    "two take turns": ("AAABB", "", {}, [1, 4, 2, 5, 3]),
    "whoever has fewer at work goes first": ("AAB", "A", {}, [3, 1, 2]),
    "and goes on to until it has as many": ("AABB", "AA", {}, [3, 4, 1, 2]),
    "and then has had its turn of those who have as many": ("AAB", "B", {}, [1, 3, 2]),
    "of equal ones the first to arrive": ("CBA", "", {}, [1, 2, 3]),
    "of equal ones the one served longest ago": ("AB", "AB", {"A": 9, "B": 8}, [2, 1]),
    "a new client does not overtake one that waits": ("AB", "", {"A": 1}, [1, 2]),
    "a client that was served later than another came does": ("AB", "", {"A": 3}, [2, 1]),
}


@pytest.mark.parametrize("case", ORDERS)
def test_the_order(case: str) -> None:
    clients, at_work, served, expected = ORDERS[case]
    waiting = [Waiting(place, client, place) for place, client in enumerate(clients, start=1)]
    assert in_order(waiting, at_work=at_work, served=served) == expected


def test_nobody_waits_for_ever_while_new_clients_come() -> None:
    patient = [Waiting(0, "patient", 1), Waiting(1, "patient", 2)]
    served: dict[str, int] = {}
    arrived, answered = 2, []
    waiting = patient
    for id in range(2, 8):
        arrived += 1
        waiting = [*waiting, Waiting(id, f"new {id}", arrived)]
        first = in_order(waiting, at_work=[], served=served)[0]
        arrived += 1
        [client] = [one.client for one in waiting if one.id == first]
        served = {client: arrived}
        waiting = [one for one in waiting if one.id != first]
        answered.append(first)
    assert answered == [0, 2, 1, 3, 4, 5]
