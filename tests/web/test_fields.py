from __future__ import annotations

import pytest

from jan_server.web.fields import fields


@pytest.mark.parametrize(
    ("sent", "by_name"),
    [
        ([], {}),
        ([(b"host", b"a"), (b"accept", b"")], {b"host": b"a", b"accept": b""}),
        (
            [(b"x", b"1"), (b"host", b"a"), (b"x", b"2"), (b"x", b"")],
            {b"x": b"1, 2, ", b"host": b"a"},
        ),
    ],
)
def test_fields_are_found_by_name_and_those_sent_twice_are_joined(
    sent: list[tuple[bytes, bytes]], by_name: dict[bytes, bytes]
) -> None:
    assert fields({"type": "http", "headers": sent}) == by_name
