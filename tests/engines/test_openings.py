"""Strings found in a text that comes in tokens."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jan_server.engines.constraints.openings import Openings

SOME = st.text("ab<", min_size=1, max_size=4).map(str.encode)


def feed(openings: Openings, tokens: list[bytes]) -> tuple[int, bytes] | None:
    """After which token one is whole, and what stands behind it."""
    beginning = b""
    for number, token in enumerate(tokens):
        rest = openings.rest(beginning, token)
        if rest is not None:
            return number, rest
        beginning = openings.beginning(beginning, token)
    return None


@given(st.lists(SOME, min_size=1, max_size=3), st.lists(SOME, max_size=8))
@example([b"aa<"], [b"aaa", b"<b"])
@example([b"ab<", b"b"], [b"a", b"b<"])
def test_an_opening_is_found_wherever_the_tokens_are_cut(
    texts: list[bytes], tokens: list[bytes]
) -> None:
    whole = b"".join(tokens)
    ends = [found + len(text) for text in texts if (found := whole.find(text)) >= 0]
    found = feed(Openings(texts, []), tokens)
    if not ends:
        assert found is None
        return
    assert found is not None
    number, rest = found
    assert len(b"".join(tokens[: number + 1])) - len(rest) == min(ends)
    assert len(rest) < len(tokens[number])


@given(
    st.lists(SOME, min_size=1, max_size=3),
    st.lists(SOME, unique=True, max_size=12),
    st.lists(SOME, max_size=3),
)
def test_overruns_are_the_tokens_that_go_beyond_an_opening(
    texts: list[bytes], tokens: list[bytes], before: list[bytes]
) -> None:
    openings = Openings(texts, sorted((token, id) for id, token in enumerate(tokens)))
    beginning = b""
    for token in before:
        if openings.rest(beginning, token) is None:
            beginning = openings.beginning(beginning, token)
    expected = {
        (id, rest) for id, token in enumerate(tokens) if (rest := openings.rest(beginning, token))
    }
    assert set(openings.overruns(beginning)) == expected


@pytest.mark.parametrize(
    ("before", "token", "remembered"),
    [
        (b"", b"say <to", b"<to"),
        (b"<to", b"ol", b"<tool"),
        (b"<to", b"y", b""),
        (b"<to", b"<", b"<"),
        (b"", b"", b""),
        (b"<t", b"", b"<t"),
    ],
)
def test_the_longest_beginning_is_remembered(
    before: bytes, token: bytes, remembered: bytes
) -> None:
    assert Openings([b"<tool>"], []).beginning(before, token) == remembered


def test_of_an_opening_of_one_byte_nothing_is_remembered() -> None:
    assert Openings([b"{"], []).beginning(b"", b"a") == b""


def test_its_repr_tells_the_openings() -> None:
    assert re.fullmatch(r"<Openings .*b'<tool>'.*>", repr(Openings([b"<tool>"], [])))
