"""What a form of calls looks like to a reader that has only the beginning of it.

Each pattern has another that matches what could still become a match of it: a list of parts, each
only behind all before it. White space and all else that repeats is bounded, so that no text takes
long to match.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from jan_server.completions.tools.formats import ToolFormat

_NAME = r"[A-Za-z0-9_-]{1,128}"
# Further keys behind the arguments, such as Mistral's ids.
_MORE_KEYS = r"(?:\s{0,20},[^{}\[\]]{0,200})?"
_SPACE = r"\s{0,20}"


class Patterns(NamedTuple):
    """`first` is the first call up to its arguments, `next` the end of one and the next, `end` the
    end of all, `odd` all before a JSON object that may have its keys in another order.
    """

    first: re.Pattern[str]
    first_partly: re.Pattern[str]
    next: re.Pattern[str]
    end: re.Pattern[str]
    behind_partly: tuple[re.Pattern[str], ...]
    odd: re.Pattern[str] | None


@lru_cache(maxsize=32)
def patterns(form: ToolFormat) -> Patterns:
    call = [*_loose(form.head), f"(?P<name>{_NAME})", *_aside(form.aside), *_loose(form.middle)]
    opens = [_SPACE, _partly(_letters(form.before)), _SPACE, *_loose(form.opens)]
    tail = [_MORE_KEYS if form.is_json else "", *_loose(form.tail)]
    first = [*opens, *call]
    following = [*tail, *_loose(form.joint or ""), *call]
    end = [*tail, *_loose(form.closes)]
    # What comes behind is text again, its white space too.
    while end and end[-1] in (_SPACE, ""):
        end.pop()
    odd = [*opens, *_loose(form.head.partition("{")[0])] if form.is_json else None
    return Patterns(
        first=_whole(first),
        first_partly=re.compile(_partly([*first, r"\{"])),
        next=_whole(following),
        end=re.compile("".join(end)),
        behind_partly=tuple(re.compile(_partly(parts)) for parts in ([*following, r"\{"], end)),
        odd=None if odd is None else _whole(odd),
    )


def _whole(parts: list[str]) -> re.Pattern[str]:
    """All of it, with a JSON object behind."""
    return re.compile("".join(parts) + r"(?=\{)")


def _partly(parts: list[str]) -> str:
    """The first of the parts, as many as there are, each only behind all before it."""
    pattern = ""
    for part in reversed(parts):
        pattern = f"(?:{part}{pattern})?"
    return pattern


def _letters(text: str) -> list[str]:
    return [re.escape(letter) for letter in text]


def _aside(text: str) -> list[str]:
    return [_partly([*_letters(text), "[A-Za-z0-9]{0,40}"])] if text else []


def _loose(text: str) -> list[str]:
    """The text letter by letter, with white space wherever JSON has it."""
    parts: list[str] = []
    for letter in text:
        loose = [_SPACE, re.escape(letter), _SPACE] if letter in "{}[]:," else [re.escape(letter)]
        if letter.isspace():
            loose = [_SPACE]
        parts += loose[1:] if parts[-1:] == [_SPACE] and loose[0] == _SPACE else loose
    return parts
