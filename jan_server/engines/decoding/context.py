"""One slot: a context of the library, and the tokens whose evaluation it holds.

The tokens are kept as `evaluated`, which is shortened before and lengthened after each evaluation:
whenever an answer breaks off, the two agree, and the next prompt reuses the longest beginning they
have in common.

A library adds up in another order where the same tokens are cut into other chunks, which can turn
a token that is nearly as likely as the next. So what must come out the same bit for bit reuses only
`whole` chunks, which begin at a multiple of CHUNK and were evaluated just as they would be again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jan_server.engines.decoding.cores import Cores
from jan_server.engines.decoding.native import LARGEST_BATCH, Floats, Native
from jan_server.engines.slots import common_prefix

CHUNK = LARGEST_BATCH


def cut(start: int, length: int) -> list[range]:
    """The places of a prompt from `start` on, in parts that are evaluated at once.

    What fits into one is one: a part beside it costs as much as half a token more.
    """
    if length - start <= CHUNK:
        return [range(start, length)]
    edges = [start, *range((start // CHUNK + 1) * CHUNK, length, CHUNK), length]
    return [range(*pair) for pair in itertools.pairwise(edges)]


class Context:
    """One thread at a time; `close` frees the memory."""

    def __init__(self, native: Native, cores: Cores) -> None:
        self.evaluated: list[int] = []
        self.whole = 0
        self._native = native
        self._cores = cores

    def __repr__(self) -> str:
        return f"<Context {len(self.evaluated)} tokens evaluated, {self.whole} in whole chunks>"

    def warm_up(self) -> None:
        """Evaluate a token: the weights are in memory then, and no prompt waits for them."""
        with self.at_work():
            self._evaluate([0], past=0)

    def reuse(self, prompt: Sequence[int], *, exactly: bool) -> int:
        """Keep what the prompt begins with, forget the rest: how many tokens of it are held now.

        The last token is never among them, since its logits are wanted. With `exactly` all that is
        held was evaluated as it would be from the beginning.
        """
        count = min(common_prefix(self.evaluated, prompt), len(prompt) - 1)
        if exactly:
            count = min(count // CHUNK * CHUNK, self.whole)
        count = self._native.keep(count)
        self.forget(count)
        return count

    def forget(self, count: int = 0) -> None:
        """All but the first `count` tokens."""
        del self.evaluated[count:]
        self.whole = min(self.whole, count // CHUNK * CHUNK)

    def read(self, prompt: Sequence[int]) -> Iterator[int]:
        """Evaluate the rest of a prompt; how much of it is done, after each part."""
        for part in cut(len(self.evaluated), len(prompt)):
            tokens = prompt[part.start : part.stop]
            self._evaluate(tokens, past=part.start, with_logits=part.stop == len(prompt))
            self.evaluated += tokens
            if len(part) == CHUNK and self.whole == part.start:
                self.whole = part.stop
            yield part.stop

    def go_on(self, tokens: Sequence[int], *, with_logits: bool = True) -> None:
        """Evaluate tokens of the answer; the logits are the last one's.

        Without logits the answer is out, and whoever reads it wants the cores too, for a moment.
        """
        for start in range(0, len(tokens), CHUNK):
            some = tokens[start : start + CHUNK]
            # In this order: whatever happens, the library holds at least what the list says.
            past = len(self.evaluated)
            self._evaluate(some, past=past, with_logits=with_logits, is_usual=with_logits)
            self.evaluated += some

    def logits(self) -> Floats:
        """See Native.logits."""
        return self._native.logits()

    def embedding(self) -> Floats:
        """See Native.embedding."""
        return self._native.embedding()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """In the thread that evaluates; it has other threads help, and lets go of them then."""
        try:
            yield
        finally:
            self._native.rest()

    def close(self) -> None:
        self._native.close()

    def _evaluate(
        self,
        tokens: Sequence[int],
        *,
        past: int,
        with_logits: bool = True,
        is_usual: bool = True,
    ) -> None:
        # What is held is looked through for each token, and without logits there is no head.
        kind = (past.bit_length(), with_logits) if is_usual else None
        with self._cores.evaluating(len(tokens), kind) as threads:
            self._native.eval(tokens, n_past=past, threads=threads, with_logits=with_logits)
