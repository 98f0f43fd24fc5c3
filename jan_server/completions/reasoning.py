"""What a model thinks before it answers, told apart from the answer.

A model that reasons has marks around that, which its template names; they are looked for only at
the beginning of the answer. A template may also end the prompt with the opening mark itself: then
the answer begins inside. White space around either part is dropped.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from jan_server.completions.trimming import Trimmed
from jan_server.engines.text import possible_beginning


class Marks(msgspec.Struct, frozen=True):
    opens: str
    closes: str


MARKS = (
    Marks("<think>", "</think>"),  # DeepSeek, Qwen, QwQ, SmolLM3, GLM
    Marks("[THINK]", "[/THINK]"),  # Magistral
    Marks("<seed:think>", "</seed:think>"),
    Marks("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A, R7B
    Marks("<thinking>", "</thinking>"),
    Marks("<reasoning>", "</reasoning>"),
)


def find(chat_template: str | None) -> Marks | None:
    """The marks that the template knows."""
    return next((marks for marks in MARKS if marks.closes in (chat_template or "")), None)


def begins_inside(prompt: str, marks: Marks) -> bool:
    """Whether the answer to the prompt begins within the reasoning."""
    return prompt.rstrip().endswith(marks.opens)


class ReasoningSplitter:
    """Push the answer's text, get (reasoning, the rest); either is often empty.

    However the answer is cut into pieces, either part put together is the same.
    """

    def __init__(self, marks: Marks, *, inside: bool) -> None:
        self._marks = marks
        self._held = ""
        self._reasoning = Trimmed(strip=True)
        self._state: Callable[[], tuple[str, str]] = self._inside if inside else self._at_beginning
        self._after = Trimmed(strip=True)

    def push(self, text: str) -> tuple[str, str]:
        self._held += text
        return self._state()

    def finish(self) -> tuple[str, str]:
        """The rest, when no more text comes."""
        held, self._held = self._held, ""
        if self._state == self._inside:
            return self._reasoning.push(held), ""
        return "", held + self._after.finish()

    def _at_beginning(self) -> tuple[str, str]:
        opens, said = self._marks.opens, self._held.lstrip()
        if said.startswith(opens):
            self._held = said.removeprefix(opens)
            self._state = self._inside
            return self._inside()
        if opens.startswith(said):
            return "", ""
        self._state = self._outside
        return self._outside()

    def _inside(self) -> tuple[str, str]:
        closes = self._marks.closes
        thought, found, rest = self._held.partition(closes)
        if found:
            self._held = rest
            self._state = self._behind
            return self._reasoning.push(thought), self._behind()[1]
        certain = len(self._held) - possible_beginning(self._held, (closes,))
        thought, self._held = self._held[:certain], self._held[certain:]
        return self._reasoning.push(thought), ""

    def _behind(self) -> tuple[str, str]:
        held, self._held = self._held, ""
        return "", self._after.push(held)

    def _outside(self) -> tuple[str, str]:
        held, self._held = self._held, ""
        return "", held
