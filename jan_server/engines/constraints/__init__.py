"""What may come next under a `base.Constraint`; the only package that knows llguidance.

llguidance reads a schema, an expression or a grammar and tells, for any place in a text, which
tokens can stand there (a bit for each) and which must. It is told the bytes that each token spells,
so all kinds of vocabularies are one to it. A control token spells nothing, unless the request made
it visible: then it is its own text, and a string of the grammar (`"[TOOL_CALLS]"`) is that token.

White space in JSON is what `JSON_LAYOUT` says. Free to put any, a small model goes on with it for
ever; without any, models write worse than as they were taught: on one line, or indented.

Rules: a constraint that cannot be kept is refused by `begin`, before anything is generated; one
that cannot be kept any more (llguidance bounds what it computes) ends the answer with an error.
Compiling is bounded too, by llguidance's own limits: half a second for the worst that were found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from jan_server.engines.base import Constraint
from jan_server.engines.constraints.answers import After, Whole
from jan_server.engines.constraints.match import JSON_LAYOUT, Compiled
from jan_server.engines.constraints.vocabulary import Vocabulary

if TYPE_CHECKING:
    from jan_server.engines.constraints.vocabulary import Mask

__all__ = ["JSON_LAYOUT", "Constraints", "Guide"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Of each model: compiled constraints (a checked request begins at once), visible control tokens.
KEPT_COMPILED = 8
KEPT_VOCABULARIES = 4


class Guide(Protocol):
    """One answer under a constraint. Its methods raise ConstraintFailed when it cannot go on."""

    def mask(self) -> Mask | None:
        """Token n may come next when bit n is set (the lowest bit of a word first); None: any."""
        ...

    def forced(self) -> list[int]:
        """The tokens that must come next, which nobody need choose; empty when there is choice."""
        ...

    def accept(self, token: int) -> None:
        """The token has come: one that the mask allows, or the first of the forced ones."""
        ...

    @property
    def complete(self) -> bool:
        """Nothing may follow any more: the answer ends."""
        ...


class Constraints:
    """The constraints of one loaded model; for several threads at once.

    `tokens` spells every token, control tokens as their own text. `special` are those that are no
    part of an answer's text, `ends` those that end it. `encode` is the model's tokeniser.
    Nothing is computed, nor llguidance imported, before the first constraint.
    """

    def __init__(
        self,
        *,
        tokens: Callable[[], Sequence[bytes]] | Sequence[bytes],
        special: Collection[int],
        ends: Collection[int],
        encode: Callable[[str], list[int]],
    ) -> None:
        self._tokens = tokens
        self._special = frozenset(special) | frozenset(ends)
        self._ends = frozenset(ends)
        self._encode = encode
        self._lock = threading.Lock()
        self._vocabularies: dict[frozenset[int], Vocabulary] = {}
        self._compiled: dict[tuple[Constraint, frozenset[int]], Compiled] = {}

    def __repr__(self) -> str:
        return f"<Constraints, {len(self._compiled)} compiled>"

    def begin(self, constraint: Constraint, *, visible: Collection[str] = ()) -> Guide:
        """`visible` are the texts of control tokens that are part of the answer's text.

        Raises InvalidRequest for what llguidance cannot read or not keep to.
        """
        with self._lock:
            compiled = self._compile(constraint, frozenset(text.encode() for text in visible))
        if compiled.openings:
            return After(compiled, compiled.openings)
        return Whole(compiled)

    def _compile(self, constraint: Constraint, visible: frozenset[bytes]) -> Compiled:
        tokens = self._tokens = self._tokens() if callable(self._tokens) else self._tokens
        shown = frozenset(
            token for token in self._special - self._ends if bytes(tokens[token]) in visible
        )
        vocabulary = _kept(
            self._vocabularies,
            shown,
            lambda: Vocabulary(tokens, self._special - shown, self._ends, encode=self._encode),
            most=KEPT_VOCABULARIES,
        )
        return _kept(
            self._compiled,
            (constraint, shown),
            lambda: Compiled(constraint, vocabulary),
            most=KEPT_COMPILED,
        )


def _kept(values: dict[K, V], key: K, make: Callable[[], V], *, most: int) -> V:
    """The value of that key, which now is the one used last; at most so many are kept."""
    value = values.pop(key) if key in values else make()
    values[key] = value
    if len(values) > most:
        del values[next(iter(values))]
    return value
