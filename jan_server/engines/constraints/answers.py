"""The guides of an answer: a match as a whole, or free but for what follows an opening."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jan_server.engines.constraints.match import Compiled, Match
    from jan_server.engines.constraints.openings import Openings
    from jan_server.engines.constraints.vocabulary import Mask


class Whole:
    """The whole answer is the match."""

    def __init__(self, compiled: Compiled) -> None:
        self._match = compiled.match()
        self._ends = compiled.vocabulary.ends

    def __repr__(self) -> str:
        return f"<Whole {self._match!r}>"

    def mask(self) -> Mask | None:
        return self._match.mask()

    def forced(self) -> list[int]:
        return self._match.forced()

    def accept(self, token: int) -> None:
        if token not in self._ends:
            self._match.take(token)

    @property
    def complete(self) -> bool:
        return self._match.over


class After:
    """The answer is free until an opening, then a match, then free again; or over, with `ends`.

    A match that could go on need not, where it is free again: a token that does not fit leaves it.
    """

    def __init__(self, compiled: Compiled, openings: Openings) -> None:
        self._compiled = compiled
        self._openings = openings
        self._once = compiled.ends
        self._beginning = b""
        self._match: Match | None = None

    def __repr__(self) -> str:
        return f"<After {self._match or self._beginning!r}>"

    def mask(self) -> Mask | None:
        free = self._compiled.free(self._openings, self._beginning)
        if self._match is None:
            return free
        if not self._leaves:
            return self._match.mask()
        return None if free is None else free | self._match.mask()

    def forced(self) -> list[int]:
        return self._match.forced() if self._match and not self._leaves else []

    def accept(self, token: int) -> None:
        if token in self._compiled.vocabulary.ends:
            return
        if self._match and self._leaves and not self._match.takes(token):
            self._match = None
        if self._match:
            self._match.take(token)
        else:
            self._accept_free(token)
        if self._match and self._match.over and not self._once:
            self._match = None

    @property
    def complete(self) -> bool:
        return self._once and self._match is not None and self._match.over

    @property
    def _leaves(self) -> bool:
        """Whether the match may be left as it is now."""
        return self._match is not None and self._match.whole and not self._once

    def _accept_free(self, token: int) -> None:
        rest = self._rest(token)
        spelled = self._compiled.vocabulary.spelled(token)
        if rest is None:
            self._beginning = self._openings.beginning(self._beginning, spelled)
            return
        self._beginning = b""
        self._match = self._compiled.match()
        for each in self._compiled.vocabulary.cut(rest)[0]:
            self._match.take(each)

    def _rest(self, token: int) -> bytes | None:
        """What the token says behind an opening; None when it does not open."""
        vocabulary = self._compiled.vocabulary
        if vocabulary.hidden.get(token) in self._compiled.after:
            return b""
        return self._openings.rest(self._beginning, vocabulary.spelled(token))
