"""Parts of a prompt that come again: tokenised once, and just as they would be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jan_server.engines.decoding.remembering import RememberingEncoder

SPECIAL = {b"<|im_start|>": 1000, b"<|im_end|>": 1001, b"<|im|>": 1002, b"<": 1003, b"\xff<": 1004}


class Spelling:
    """An id for each character; `asked` are the texts that it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, text: str) -> list[int]:
        self.asked.append(text)
        return [ord(letter) for letter in text]


def spelled(text: str) -> list[int]:
    return [ord(letter) for letter in text]


TURN = "<|im_start|>user\nHi<|im_end|>\n"


def test_a_turn_that_comes_again_is_not_tokenised_again() -> None:
    inner = Spelling()
    encoder = RememberingEncoder(inner, SPECIAL)
    once = [1000, *spelled("user\nHi"), 1001, *spelled("\n")]
    assert encoder.encode(TURN) == once
    assert encoder.encode(TURN + TURN.replace("Hi", "And?")) == [
        *once,
        *[1000, *spelled("user\nAnd?"), 1001, *spelled("\n")],
    ]
    assert inner.asked == ["user\nHi", "\n", "user\nAnd?"]
    assert encoder.encode("") == []


@given(st.lists(st.sampled_from(["<", "<|im", "|>", "<|im_end|>", "a", "b<", "é"]), max_size=9))
def test_control_tokens_are_the_longest_that_stand_there(parts: list[str]) -> None:
    text, expected, place = "".join(parts), [], 0
    known = {name.decode(): id for name, id in SPECIAL.items() if name.isascii()}
    while place < len(text):
        here = [name for name in known if text.startswith(name, place)]
        name = max(here, key=len, default=text[place])
        expected.append(known.get(name, ord(name[0])))
        place += len(name)
    encoder = RememberingEncoder(Spelling(), SPECIAL)
    assert encoder.encode(text) == expected
    assert encoder.encode(text) == expected


def test_what_was_used_longest_ago_is_forgotten() -> None:
    inner = Spelling()
    encoder = RememberingEncoder(inner, {}, most_characters=6)
    for text in ("aaa", "bbb", "aaa", "ccc", "aaa", "bbb", "longer than all", "aaa"):
        assert encoder.encode(text) == spelled(text)
    assert inner.asked == ["aaa", "bbb", "ccc", "bbb", "longer than all", "aaa"]
    assert repr(encoder) == "<RememberingEncoder 1 parts, 3 characters>"
