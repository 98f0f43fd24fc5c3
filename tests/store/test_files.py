"""What the file layer promises by itself."""

from __future__ import annotations

import pytest

from jan_server.store.files import COARSE_TICK, TICK, Signature


@pytest.mark.parametrize(
    ("mtime_ns", "age", "expected"),
    [
        (1_700_000_000_123_456_789, 0.0, False),
        (1_700_000_000_123_456_789, TICK * 0.9, False),
        (1_700_000_000_123_456_789, TICK * 1.1, True),
        (1_700_000_000_123_456_789, -60.0, False),
        (1_700_000_000_000_000_000, 1.0, False),
        (1_700_000_000_000_000_000, COARSE_TICK * 1.1, True),
    ],
)
def test_a_signature_is_trusted_once_it_is_older_than_the_clocks_tick(
    mtime_ns: int, age: float, expected: bool
) -> None:
    signature = Signature(mtime_ns=mtime_ns, size=1, inode=1)
    assert signature.is_settled(mtime_ns / 1e9 + age) is expected
