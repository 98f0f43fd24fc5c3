"""One answer's choices: its numbers, what it has chosen, and the order of the steps.

The order is llama.cpp's (`common_sampler_init`): logit bias, penalties, the constraint's mask,
top-k, typical, top-p, min-p, temperature, draw. With mirostat: bias, penalties, mask, temperature,
mirostat; the four cuts are left out, and a temperature of 0 is greedy all the same.

The n-th token of an answer is drawn with the n-th number of its seed, whether those before it were
drawn or forced: so an answer does not depend on which tokens a constraint could tell beforehand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from jan_server.engines.base import Parameters
from jan_server.engines.decoding.sampling.candidates import keep
from jan_server.engines.decoding.sampling.changes import Changes
from jan_server.engines.decoding.sampling.drawing import draw
from jan_server.engines.decoding.sampling.masks import Mask, allowed_few, is_allowed, masked
from jan_server.engines.decoding.sampling.mirostat import Mirostat
from jan_server.engines.decoding.sampling.ranking import Logits, greediest

# A number at a time costs 0.02 ms when the processor has just computed a token.
NUMBERS_AT_ONCE = 256


class Sampler:
    """`ends` are the tokens that end an answer: never chosen where `ignore_eos` is set."""

    def __init__(self, values: Parameters, *, ends: Collection[int] = ()) -> None:
        self._values = values
        self._changes = Changes(values, never=ends if values.ignore_eos else ())
        self._mirostat = Mirostat(values) if values.mirostat else None
        self._numbers = numbers(values.seed)

    def choose(self, logits: Logits, history: Sequence[int], mask: Mask | None = None) -> int:
        """The next token. `history` is everything evaluated, prompt and answer.

        It is not changed, and begins with what it was in the call before.
        Raises ModelCannotRun when the logits are no numbers, InvalidRequest when bias, mask and
        `ignore_eos` leave no token, or the bias names one that is none.
        """
        logits = self._changes.made(logits, history)
        token = self._pick(logits) if mask is None else self._pick_allowed(logits, mask)
        self._changes.count(token)
        return token

    def accept(self, token: int) -> None:
        """Count a token that was not chosen but forced."""
        next(self._numbers)
        self._changes.count(token)

    def _pick_allowed(self, logits: Logits, mask: Mask) -> int:
        if self._values.temperature <= 0 and is_allowed(mask, token := greediest(logits)):
            return token
        ids = allowed_few(mask, len(logits))
        return (
            self._pick(masked(logits, mask)) if ids is None else int(ids[self._pick(logits[ids])])
        )

    def _pick(self, logits: Logits) -> int:
        """A place in `logits`."""
        if self._values.temperature <= 0:
            return greediest(logits)
        chance = next(self._numbers)
        if self._mirostat is not None:
            return self._mirostat.pick(logits, self._values.temperature, chance)
        ids, below = keep(logits, self._values)
        place = draw(below, self._values.temperature, chance)
        return place if ids is None else int(ids[place])


def numbers(seed: int | None) -> Iterator[float]:
    """The numbers of a seed, in [0, 1), without end; of None, other ones each time."""
    # OpenAI's seeds are signed 64-bit numbers, NumPy's are not negative.
    random = np.random.default_rng(seed if seed is None else seed & 0xFFFF_FFFF_FFFF_FFFF)
    while True:
        yield from random.random(NUMBERS_AT_ONCE).tolist()
