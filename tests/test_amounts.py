"""Durations and sizes as people write them."""

from __future__ import annotations

from math import inf

import pytest

from jan_server import amounts


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (0, 0),
        (300, 300),
        (0.5, 0.5),
        (-1, inf),
        ("0", 0),
        ("300", 300),
        ("1.5", 1.5),
        ("-1", inf),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("10s", 10),
        ("2d", 172800),
        (" 5m ", 300),
        ("-5m", inf),
        ("0s", 0),
    ],
)
def test_a_duration_in_seconds(written: float | str, seconds: float) -> None:
    assert amounts.seconds(written) == seconds


@pytest.mark.parametrize("written", ["", "m", "5 m", "5x", "1h30", "for ever", "nan", "inf", "--1"])
def test_what_is_no_duration_is_said(written: str) -> None:
    with pytest.raises(ValueError, match="is no duration such as 30s, 5m"):
        amounts.seconds(written)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (8_000_000_000, 8_000_000_000),
        ("100", 100),
        ("12 b", 12),
        ("8GB", 8 * 10**9),
        ("8G", 8 * 10**9),
        ("8gib", 8 * 2**30),
        ("7.5 GiB", 15 * 2**29),
        ("512MiB", 2**29),
        ("1k", 1000),
        ("2TB", 2 * 10**12),
    ],
)
def test_a_size_in_bytes(written: int | str, size: int) -> None:
    assert amounts.size(written) == size


@pytest.mark.parametrize("written", ["", "GB", "-1", "8 XB", "8 iB", "80%", -5, 1.5e30])
def test_what_is_no_size_is_said(written: int | str) -> None:
    with pytest.raises(ValueError, match="is no size such as 8GB"):
        amounts.size(written)
