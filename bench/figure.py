"""A figure, its bound, and the table that shows them."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct


class Figure(Struct, kw_only=True, frozen=True):
    """What was measured. `bound` is what `value` must not exceed, or with `is_floor` reach."""

    name: str
    value: float
    bound: float
    unit: str = ""
    is_floor: bool = False
    detail: str = ""

    @property
    def passed(self) -> bool:
        return self.value >= self.bound if self.is_floor else self.value <= self.bound

    def row(self) -> tuple[str, str, str, str, str]:
        sign = "≥" if self.is_floor else "≤"
        return (
            self.name,
            f"{self.value:.3g}{self.unit}",
            f"{sign} {self.bound:g}{self.unit}",
            "pass" if self.passed else "FAIL",
            self.detail,
        )


def table(figures: Sequence[Figure]) -> str:
    """A Markdown table, its columns aligned for reading as text."""
    head = ("figure", "measured", "bound", "", "how it came out")
    rows = [head, *(figure.row() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def report(figures: Sequence[Figure], *, model: str) -> str:
    """The contents of `bench/results.md`."""
    machine = f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return (
        "# Benchmark\n\nWritten by `make bench`. Figures are medians of rounds in which the two "
        f"sides took turns.\n\nModel: {model}. Machine: {machine}.\n\n"
        f"{table(figures)}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
