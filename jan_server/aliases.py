"""Shorter names of models: `tinyllama` for `tinyllama-1.1b`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jan_server.errors import AmbiguousAlias

Names = Mapping[str, Iterable[str]]
"""The aliases of each model, by its id."""


def resolve(alias: str, *groups: Names) -> str | None:
    """The id of the model of that alias; None when there is none.

    The first group that has any decides: a model that is here goes before one that could be got.
    Raises AmbiguousAlias when two of a group have it.
    """
    for names in groups:
        found = sorted(id for id, aliases in names.items() if alias in aliases)
        if len(found) > 1:
            raise AmbiguousAlias(alias, found)
        if found:
            return found[0]
    return None
