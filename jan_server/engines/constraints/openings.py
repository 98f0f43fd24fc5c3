"""Where in an answer one of some strings is whole, token by token; pure.

What is remembered between tokens is the *beginning*: the longest end of the text so far that one
of the strings begins with. A token can go beyond the string that it completes; `overruns` finds
those tokens beforehand, for whoever has to forbid some of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence


class Openings:
    """`texts` are the strings, none empty; `tokens` what each spells, and its id, sorted."""

    def __init__(self, texts: Sequence[bytes], tokens: Sequence[tuple[bytes, int]]) -> None:
        self._texts = tuple(texts)
        self._tokens = tokens
        self._holding = [pair for pair in tokens if any(each in pair[0] for each in texts)]
        self._longest = max(map(len, texts))

    def __repr__(self) -> str:
        return f"<Openings {self._texts}>"

    def rest(self, beginning: bytes, spelled: bytes) -> bytes | None:
        """What stands behind the string that is whole first; None when none is whole yet."""
        text = beginning + spelled
        ends = [place + len(each) for each in self._texts if (place := text.find(each)) >= 0]
        return text[min(ends) :] if ends else None

    def beginning(self, beginning: bytes, spelled: bytes) -> bytes:
        """What to remember after a token with which none is whole."""
        text = (beginning + spelled)[1 - self._longest :] if self._longest > 1 else b""
        places = range(len(text))
        return next((text[at:] for at in places if self._begins(text[at:])), b"")

    def overruns(self, beginning: bytes) -> Iterator[tuple[int, bytes]]:
        """The tokens that would make one whole and go on, with what they go on with."""
        for spelled, token in self._candidates(beginning):
            if rest := self.rest(beginning, spelled):
                yield token, rest

    def _begins(self, text: bytes) -> bool:
        return any(each.startswith(text) for each in self._texts)

    def _candidates(self, beginning: bytes) -> Iterator[tuple[bytes, int]]:
        """Tokens that hold one of the strings, and those that begin with what is missing of one."""
        yield from self._holding
        for each in self._texts:
            for length in range(1, min(len(each) - 1, len(beginning)) + 1):
                if beginning.endswith(each[:length]):
                    yield from self._starting(each[length:])

    def _starting(self, start: bytes) -> Iterator[tuple[bytes, int]]:
        place = bisect_left(self._tokens, (start, -1))
        while place < len(self._tokens) and self._tokens[place][0].startswith(start):
            yield self._tokens[place]
            place += 1
