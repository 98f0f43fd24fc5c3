"""What the loop needs of a native library: one context that evaluates tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LARGEST_BATCH = 64
"""Tokens that one `eval` takes: 32 to 128 are fastest, and a cancelled prompt ends within one."""


class Native(Protocol):
    """One thread at a time. It keeps no list of what is evaluated: `n_past` says how much stays."""

    def eval(
        self, tokens: Sequence[int], *, n_past: int, threads: int, with_logits: bool = True
    ) -> None:
        """Evaluate `tokens`, LARGEST_BATCH at most, behind the first `n_past` of the context.

        Without logits what `logits` then gives is meaningless.
        """
        ...

    def keep(self, count: int) -> int:
        """Hold the first `count` tokens only; how many it holds then: none, where it cannot."""
        ...

    def logits(self) -> Floats:
        """Those of the last token evaluated: a view, overwritten by the next `eval`, read only."""
        ...

    def embedding(self) -> Floats:
        """The last token's state before the head, as `logits`."""
        ...

    def rest(self) -> None:
        """Let go of the threads that computed for this one: for now it evaluates no more."""
        ...

    def close(self) -> None:
        """Free the memory; the views are gone with it."""
        ...
