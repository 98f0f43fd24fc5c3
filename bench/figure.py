"""A figure, its bounds, and the table that shows them."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class Ratio(Struct, kw_only=True, frozen=True):
    """The figure against its peer's in the same run.

    `value` is the median of what the rounds gave, so it is not quite figure / `peer`. Without a
    bound it is only shown.
    """

    peer: float
    value: float
    bound: float | None = None
    is_floor: bool = False

    @property
    def passed(self) -> bool:
        return self.bound is None or _within(self.value, self.bound, is_floor=self.is_floor)


class Figure(Struct, kw_only=True, frozen=True):
    """What was measured. `bound` is what `value` must not exceed, or with `is_floor` reach.

    Machines differ: where there is a ratio with a bound, it decides. `value` is None when nothing
    could be measured; `detail` says why then.
    """

    name: str
    value: float | None
    bound: float
    unit: str = ""
    is_floor: bool = False
    ratio: Ratio | None = None
    detail: str = ""

    @property
    def passed(self) -> bool:
        if self.value is None:
            return False
        if self.ratio is not None and self.ratio.bound is not None:
            return self.ratio.passed
        return _within(self.value, self.bound, is_floor=self.is_floor)

    def row(self) -> tuple[str, ...]:
        return (
            self.name,
            _shown(self.value, self.unit),
            _limit(self.bound, self.unit, is_floor=self.is_floor),
            *self._ratio_columns(),
            "pass" if self.passed else "FAIL",
            self.detail,
        )

    def _ratio_columns(self) -> tuple[str, str, str]:
        if self.ratio is None:
            return "", "", ""
        bound = self.ratio.bound
        limit = "" if bound is None else _limit(bound, " ×", is_floor=self.ratio.is_floor)
        return _shown(self.ratio.peer, self.unit), _shown(self.ratio.value, " ×"), limit


HEAD = ("figure", "measured", "bound", "peer", "ratio", "bound", "", "how it came out", "command")


def table(figures: Sequence[Figure], *, command: str) -> str:
    """A Markdown table, its columns aligned for reading as text."""
    rows = [HEAD, *((*figure.row(), f"`{command}`") for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def _within(value: float, bound: float, *, is_floor: bool) -> bool:
    return value >= bound if is_floor else value <= bound


def _limit(bound: float, unit: str, *, is_floor: bool) -> str:
    return f"{'≥' if is_floor else '≤'} {bound:,g}{unit}"


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}{unit}" if abs(value) >= 100 else f"{value:.3g}{unit}"
