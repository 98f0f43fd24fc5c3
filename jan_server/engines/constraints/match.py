"""A constraint as llguidance compiled it, and a text that has to match it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jan_server.engines.base import Constraint
from jan_server.engines.constraints.openings import Openings
from jan_server.errors import ConstraintFailed, InvalidRequest

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from llguidance._lib import JsonCompileOptions

    from jan_server.engines.constraints.vocabulary import Mask, Vocabulary

# Where JSON lets white space stand, at most one of these; llama.cpp's grammars allow the same.
JSON_LAYOUT: JsonCompileOptions = {"whitespace_pattern": r" |\n {0,32}"}

NAMES = {
    "json_schema": "This JSON Schema",
    "regex": "This regular expression",
    "lark": "This grammar",
}
LONGEST_REASON = 300


class Compiled:
    """A constraint in terms of a vocabulary; for any number of answers at once."""

    def __init__(self, constraint: Constraint, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.ends = constraint.ends
        self._matcher = _compile(constraint, vocabulary.tokenizer)
        self._forbidden: dict[bytes, Mask | None] = {}
        self.after = tuple(text.encode() for text in constraint.after)
        self.openings = Openings(self.after, vocabulary.sorted) if self.after else None

    def match(self) -> Match:
        return Match(self._matcher.deep_copy(), self.vocabulary)

    def free(self, openings: Openings, beginning: bytes) -> Mask | None:
        """All tokens but those that open, and go on as no match can."""
        if beginning not in self._forbidden:
            tokens = [
                token for token, rest in openings.overruns(beginning) if not self._begins(rest)
            ]
            self._forbidden[beginning] = ~self.vocabulary.bits(tokens) if tokens else None
        return self._forbidden[beginning]

    def _begins(self, text: bytes) -> bool:
        ids, other = self.vocabulary.cut(text)
        return not other and self._matcher.deep_copy().validate_tokens(ids) == len(ids)


class Match:
    """A text that has to match, as far as it has come."""

    def __init__(self, matcher: LLMatcher, vocabulary: Vocabulary) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._mask: Mask | None = None

    def __repr__(self) -> str:
        return f"<Match {self._matcher.stop_reason()}>"

    def mask(self) -> Mask:
        import numpy as np

        if self._mask is None:
            # It has a bit more than there are tokens, and then may have a word more.
            bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint32)
            self._mask = bits[: len(self._vocabulary.end_bits)]
            self._check()
        return self._mask

    def forced(self) -> list[int]:
        return self._matcher.compute_ff_tokens()

    def take(self, token: int) -> None:
        self._mask = None
        self._matcher.consume_token(token)
        self._check()

    def takes(self, token: int) -> bool:
        return self._matcher.validate_tokens([token]) == 1

    @property
    def whole(self) -> bool:
        """It is a match already, whatever may still follow."""
        return self._matcher.is_accepting()

    @property
    def over(self) -> bool:
        """It is a match, and nothing can follow."""
        if self._matcher.is_stopped():
            return True
        return self.whole and not (self.mask() & ~self._vocabulary.end_bits).any()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ConstraintFailed(_worded(self._matcher.get_error()))


def _compile(constraint: Constraint, tokenizer: LLTokenizer) -> LLMatcher:
    """Raises InvalidRequest, for a constraint without any match too."""
    from llguidance import LLMatcher, LLParserLimits

    try:
        if constraint.kind == "json_schema":
            grammar = LLMatcher.grammar_from_json_schema(constraint.text, defaults=JSON_LAYOUT)
        elif constraint.kind == "regex":
            grammar = LLMatcher.grammar_from_regex(constraint.text)
        else:
            grammar = LLMatcher.grammar_from_lark(constraint.text)
    except ValueError as error:
        raise _refused(constraint, str(error)) from error
    limits = LLParserLimits(verbose_errors=False)
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
    if not matcher.is_error():
        matcher.compute_bitmask()
    if matcher.is_error():
        raise _refused(constraint, matcher.get_error())
    return matcher


def _refused(constraint: Constraint, reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"{NAMES[constraint.kind]} cannot be kept to: {_worded(reason)}.", param="$.constraint"
    )


def _worded(reason: str) -> str:
    """llguidance's reason in one line, without its drawings of the place and its own state."""
    reason = reason.split("<state>")[0].replace("<non-verbose/>", "")
    reason = reason.replace("NoExtensionBias", "nothing can match it")
    lines = [line for line in reason.splitlines() if line and not line[0].isspace()]
    text = " ".join(lines).strip().rstrip(".")
    return text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + "..."
