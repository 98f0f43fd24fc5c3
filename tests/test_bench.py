"""What the benchmark makes of its figures."""

from __future__ import annotations

import pytest

from bench import results
from bench.figure import Figure, Ratio, table


@pytest.mark.parametrize(
    ("value", "ratio", "passed"),
    [
        (5, None, True),
        (6, None, True),
        (7, None, False),
        (None, None, False),
        # Machines differ: where there is a bound of the ratio, it decides.
        (7, Ratio(peer=5, value=1.4, bound=1.6), True),
        (5, Ratio(peer=2, value=2.5, bound=1.6), False),
        (5, Ratio(peer=2, value=2.5), True),
        (7, Ratio(peer=5, value=1.4), False),
        (7, Ratio(peer=5, value=1.4, bound=1.2, is_floor=True), True),
        (5, Ratio(peer=2, value=0.5, bound=0.6, is_floor=True), False),
    ],
)
def test_a_figure_is_judged_by_its_bound_or_by_its_ratio(value, ratio, passed):
    assert Figure(name="list", value=value, bound=6, ratio=ratio).passed is passed


@pytest.mark.parametrize(("value", "passed"), [(500, True), (499, False)])
def test_a_floor_is_to_be_reached(value, passed):
    assert Figure(name="rate", value=value, bound=500, is_floor=True).passed is passed


def test_the_table_shows_both_sides_and_both_bounds():
    figure = Figure(
        name="rate",
        value=1234.5,
        bound=1300,
        unit="/s",
        is_floor=True,
        ratio=Ratio(peer=2000, value=0.617, bound=0.6, is_floor=True),
        detail="16 connections",
    )
    *_, row = table([figure], command="python -m bench").splitlines()
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "rate",
        "1,234/s",
        "≥ 1,300/s",
        "2,000/s",
        "0.617 ×",
        "≥ 0.6 ×",
        "pass",
        "16 connections",
        "`python -m bench`",
    ]


def test_a_part_replaces_its_own_section_only(tmp_path):
    path = tmp_path / "results.md"
    order = ["Start", "Lists", "Kills"]
    results.write({"Kills": "none lost", "Start": "slow"}, order=order, path=path)
    results.write({"Start": "fast", "Lists": "| a |\n| b |\n"}, order=order, path=path)
    assert path.read_text() == (
        f"{results.HEAD}\n## Start\n\nfast\n\n## Lists\n\n| a |\n| b |\n\n## Kills\n\nnone lost\n"
    )
