from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jan_server.engines.text import TextStream


def shown(pieces: list[bytes], stop: tuple[str, ...] = ()) -> list[str]:
    stream = TextStream(stop)
    return [*(stream.push(piece) for piece in pieces), stream.finish()]


@pytest.mark.parametrize(
    ("pieces", "stop", "texts"),
    [
        ([], (), [""]),
        ([b"Hello", b" you"], (), ["Hello", " you", ""]),
        ([b"\xf0\x9f", b"\x98", b"\x80!"], (), ["", "", "😀!", ""]),
        ([b"a\xff", b"b"], (), ["a�", "b", ""]),
        ([b"a\xc3"], (), ["a", "�"]),
        ([b"a\xc3", b"b"], (), ["a", "�b", ""]),
        ([b"Hello STOP more", b"more"], ("STOP",), ["Hello ", "", ""]),
        ([b"Hello S", b"TO", b"P more"], ("STOP",), ["Hello ", "", "", ""]),
        ([b"Hello S", b"TO", b"RE"], ("STOP",), ["Hello ", "", "STORE", ""]),
        ([b"Hello STO"], ("STOP",), ["Hello ", "STO"]),
        ([b"aab"], ("ab",), ["a", ""]),
        ([b"aa", b"ab"], ("aab",), ["", "a", ""]),
        ([b"abcd"], ("abcd", "bc"), ["a", ""]),
        ([b"abc"], ("bc", "abc"), ["", ""]),
        ([b"a", b"b"], ("", "b"), ["a", "", ""]),
        ([b"x\xe2\x82", b"\xac y"], ("€",), ["x", "", ""]),
        ([b"x\xe2\x82"], ("�",), ["x", ""]),
        ([b"a\n", b"\n", b"b"], ("\n\n",), ["a", "", "", ""]),
    ],
)
def test_text_is_shown_when_it_is_certain(
    pieces: list[bytes], stop: tuple[str, ...], texts: list[str]
) -> None:
    assert shown(pieces, stop) == texts


def test_the_stream_says_that_it_stopped() -> None:
    stream = TextStream(("b",))
    assert (stream.push(b"a"), stream.stopped) == ("a", False)
    assert (stream.push(b"b"), stream.stopped) == ("", True)


@st.composite
def cut_bytes(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    data = draw(st.one_of(st.binary(max_size=40), st.text("ab€😀", max_size=20).map(str.encode)))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=10)))
    edges = [0, *cuts, len(data)]
    return data, [data[a:b] for a, b in pairwise(edges)]


@given(cut_bytes(), st.lists(st.text("ab€😀�", max_size=4), max_size=3))
def test_any_cut_gives_the_text_of_one_piece(
    case: tuple[bytes, list[bytes]], stop: list[str]
) -> None:
    data, pieces = case
    whole = "".join(shown([data], tuple(stop)))
    assert "".join(shown(pieces, tuple(stop))) == whole
    assert not any(word and word in whole for word in stop)
    assert data.decode(errors="replace").startswith(whole)
