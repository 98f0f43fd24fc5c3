"""What changes the logits: bias, penalties, tokens that are never chosen.

In llama.cpp's order: first the bias is added, then comes the repeat penalty over the last tokens of
prompt and answer (a positive logit is divided by it, another multiplied), then OpenAI's frequency
and presence penalties over the answer. Tokens that are never chosen get a logit of -inf at last.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from jan_server.engines.base import Parameters
from jan_server.engines.decoding.sampling.ranking import Ids, Logits
from jan_server.engines.decoding.sampling.recent import Recent
from jan_server.errors import InvalidRequest

# OpenAI: "values like -100 or 100 should result in a ban or exclusive selection".
BAN = -100.0


def check_bias(bias: Mapping[int, float], size: int) -> None:
    """Raises InvalidRequest for a token that a vocabulary of `size` does not have."""
    for token in bias:
        if not 0 <= token < size:
            raise InvalidRequest(
                f"logit_bias names the token {token}; this model's are 0 to {size - 1}.",
                param="$.logit_bias",
            )


class Changes:
    """Those of one answer, with how often it has chosen each token."""

    def __init__(self, values: Parameters, *, never: Collection[int] = ()) -> None:
        self._values = values
        is_repetition_free = values.repeat_penalty == 1 or values.repeat_last_n == 0
        self._recent = None if is_repetition_free else Recent(values.repeat_last_n)
        self._chosen = Counts()
        self._counts = bool(values.presence_penalty or values.frequency_penalty)
        added = {token: by for token, by in values.logit_bias.items() if by > BAN}
        self._biased = np.array([*added], np.intp)
        self._bias = np.array([*added.values()], np.float32)
        self._never = np.array([*never, *(values.logit_bias.keys() - added.keys())], np.intp)

    def count(self, token: int) -> None:
        """The answer has this token now."""
        if self._counts:
            self._chosen.add(token)

    def made(self, logits: Logits, history: Sequence[int]) -> Logits:
        """The changed logits: the same array where nothing changes, else a copy.

        `history` begins with what it was in the call before. Raises like `check_bias`.
        """
        if not (self._recent or self._chosen or len(self._biased) or len(self._never)):
            return logits
        check_bias(self._values.logit_bias, len(logits))
        logits = logits.copy()
        if len(self._biased):
            logits[self._biased] += self._bias
        if self._recent:
            self._penalise_repetition(logits, self._recent.of(history))
        if self._chosen:
            self._penalise_presence(logits)
        if len(self._never):
            logits[self._never] = -np.inf
        return logits

    def _penalise_repetition(self, logits: Logits, recent: Ids) -> None:
        """Which of the two it is depends on the sign; it is the smaller one, for a real penalty."""
        penalty = np.float32(self._values.repeat_penalty)
        found = logits[recent]
        choose = np.minimum if penalty > 1 else np.maximum
        logits[recent] = choose(found / penalty, found * penalty)

    def _penalise_presence(self, logits: Logits) -> None:
        ids, counts = self._chosen.arrays()
        logits[ids] -= counts * np.float32(self._values.frequency_penalty)
        logits[ids] -= np.float32(self._values.presence_penalty)


class Counts:
    """How often each token was chosen, as two arrays that grow: counting anew would be slow."""

    def __init__(self) -> None:
        self._place: dict[int, int] = {}
        self._ids = np.zeros(64, np.intp)
        self._counts = np.zeros(64, np.float32)

    def __bool__(self) -> bool:
        return bool(self._place)

    def add(self, token: int) -> None:
        place = self._place.setdefault(token, len(self._place))
        if place == len(self._ids):
            self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
        self._ids[place] = token
        self._counts[place] += 1

    def arrays(self) -> tuple[Ids, NDArray[np.float32]]:
        """Distinct tokens, and how often each was chosen (at least once)."""
        size = len(self._place)
        return self._ids[:size], self._counts[:size]
