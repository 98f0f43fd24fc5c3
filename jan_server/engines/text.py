"""The bytes of an answer's tokens -> the text that may be shown.

Two things go across the borders of tokens: characters (an emoji is up to four byte tokens) and stop
strings. So what could still become a whole character or a stop string is held back until it is
clear. However the bytes are cut into pieces, the text put together is the same.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import NamedTuple


class Stop(NamedTuple):
    """A stop string in a text, and where it begins."""

    start: int
    word: str


class TextStream:
    """Push bytes, get text; nothing comes after `stopped`, which is by the stop string `met`.

    A stop string is not shown, and nothing after it. When several could match, the one that is
    complete first does (of those, the longest), as a reader of single characters would find them.
    Bytes that are no UTF-8 become U+FFFD. Empty stop strings are left out.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stop = [text for text in stop if text]
        self._held = ""
        self.stopped = False
        self.met: str | None = None

    def push(self, data: bytes) -> str:
        """The text that is certain by now; often empty."""
        return self._release(self._decoder.decode(data), final=False)

    def finish(self) -> str:
        """The rest, when no more bytes come."""
        return self._release(self._decoder.decode(b"", final=True), final=True)

    def _release(self, new: str, *, final: bool) -> str:
        if self.stopped:
            return ""
        if not self._stop:
            return new
        text = self._held + new
        found = first_stop(text, self._stop)
        if found is not None:
            self.stopped, self.met, self._held = True, found.word, ""
            return text[: found.start]
        shown = len(text) if final else len(text) - possible_beginning(text, self._stop)
        self._held = text[shown:]
        return text[:shown]


def first_stop(text: str, stop: Sequence[str]) -> Stop | None:
    """The stop string that is complete first (of those, the longest); None when there is none."""
    found = [Stop(place, word) for word in stop if (place := text.find(word)) >= 0]
    return min(found, key=lambda one: (one.start + len(one.word), one.start), default=None)


def possible_beginning(text: str, stop: Sequence[str]) -> int:
    """How many characters at the end of `text` could be the beginning of a stop string."""
    longest = max(map(len, stop)) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(word.startswith(text[-length:]) for word in stop):
            return length
    return 0
