"""One model that is a file: what is known of it, its id, and what a change of it is. Pure."""

from __future__ import annotations

from pathlib import Path

import msgspec

from jan_server import ids
from jan_server.events import Change
from jan_server.store.document import Document
from jan_server.store.scanner import Problem
from jan_server.store.signature import Signature

_CORTEX = frozenset({"cortex.so", "huggingface.co", "imported"})


class FileModel(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is the `.yml`, or the weights themselves, and `where` that below `models/` without
    its suffix. `document` is None when there never was a good one; `problem` is what it is now.
    """

    path: Path
    where: str
    signature: Signature
    is_settled: bool
    id: str = ""
    document: Document | None = None
    problem: Problem | None = None
    weights: Signature | None = None

    @property
    def long_id(self) -> str:
        return f"{self.said_id}@{self.where.replace('/', ':')}"

    @property
    def said_id(self) -> str:
        said = str(self.document.value.get("id", "")) if self.document else ""
        return said if ids.is_lookup_id(said, kind="model") else _id_of_path(self.where)


def change_of(old: FileModel | None, new: FileModel | None) -> Change | None:
    if new is None:
        return "deleted"
    if new.problem is not None:
        return "broken" if old is None or old.problem != new.problem else None
    if old is None:
        return "created"
    is_same = (old.problem, old.signature, old.weights) == (None, new.signature, new.weights)
    return None if is_same else "updated"


def _id_of_path(where: str) -> str:
    """As cortex named a model that it got there; else the path."""
    home, _, rest = where.partition("/")
    if home not in _CORTEX or not rest:
        return where.removesuffix("/model")
    return (rest.removesuffix("/model") or rest).replace("/", ":")
