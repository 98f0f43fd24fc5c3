"""The last tokens of prompt and answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jan_server.engines.decoding.sampling.ranking import Ids


class Recent:
    """An array of them that grows: to make one anew of 4,000 tokens takes 0.15 ms."""

    def __init__(self, count: int) -> None:
        """`count` tokens are recent, or with -1 all."""
        self._count = count
        self._ids = np.zeros(256, np.intp)
        self._known = 0

    def of(self, history: Sequence[int]) -> Ids:
        """The ids, a token perhaps more than once; a view until the next call.

        `history` begins with what it was in the call before.
        """
        end = len(history)
        if end > len(self._ids):
            self._ids = np.concatenate([self._ids, np.zeros(end, np.intp)])
        self._ids[self._known : end] = history[self._known :]
        self._known = end
        return self._ids[0 if self._count < 0 else max(end - self._count, 0) : end]
