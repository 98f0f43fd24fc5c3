"""Appends to several threads: all are written first, and flushed together then.

Flushes that meet are one for the file system. Whoever holds several threads' locks here has waited
for none of them while he held another, so that two of us never wait for each other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

from jan_server.errors import JanError
from jan_server.store.appends import Appends, Begun
from jan_server.store.new_messages import Batch, Outcome

Run = Callable[[Callable[[Begun], JanError | None], Sequence[Begun]], Iterable[JanError | None]]
"""As `map`, in any order or all at once."""


def append_all(
    appends: Sequence[tuple[Appends, Sequence[Batch]]], *, run: Run = map
) -> list[list[Outcome] | JanError]:
    """Append to several threads, no thread twice; `run` flushes them.

    What came of each, as Appends.append answers or raises it.
    """
    found: dict[int, list[Outcome] | JanError] = {}
    with contextlib.ExitStack() as stack:
        begun: dict[int, Begun] = {}
        for number, (each, batches) in enumerate(appends):
            try:
                written = stack.enter_context(each.begun(batches, wait=False))
            except JanError as error:
                found[number] = error
            else:
                begun |= {number: written} if written is not None else {}
        for number, failed in zip(begun, run(_flushed, list(begun.values())), strict=True):
            found[number] = failed or begun[number].finish()
    for number, (each, batches) in enumerate(appends):
        if number not in found:  # Its lock was not free.
            found[number] = _waited(each, batches)
    return [found[number] for number in range(len(appends))]


def _flushed(begun: Begun) -> JanError | None:
    try:
        begun.flush()
    except JanError as error:
        return error
    return None


def _waited(appends: Appends, batches: Sequence[Batch]) -> list[Outcome] | JanError:
    try:
        return appends.append(batches)
    except JanError as error:
        return error
