from __future__ import annotations

import pytest

from jan_server.printable import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, Größe, 日本語, 👩‍👩‍👧", "plain, Größe, 日本語, 👩‍👩‍👧"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b31m", r"\x9b31m"),
        ("a\tb\r\nc\rd", r"a\tb\r\nc\rd"),
        ("\u2028\x7f\x00", r"\u2028\x7f\x00"),
        ("a\udcffb", r"a\xffb"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled(text, shown):
    assert printable(text) == shown


def test_lines_and_tabs_may_stay():
    assert printable_lines("a\tb\nc\r\nd\re\x1b") == "a\tb\nc\nd" + r"\re\x1b"
