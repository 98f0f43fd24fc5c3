"""The JSON document of a resource: whether it is there and whole, and whose id it says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jan_server.store.doctor.found import Found, Mend, found
from jan_server.store.doctor.spots import Spot
from jan_server.store.files import Files
from jan_server.store.paths import MODELS, THREADS
from jan_server.store.reading import decoded
from jan_server.store.scanner import Problem
from jan_server.store.weights import is_gguf, is_yml


class Whose(NamedTuple):
    """What a document says its id is, and where it says so."""

    spot: Spot
    id: str


class Document(NamedTuple):
    """`value` is empty where there is nothing that can be read."""

    value: Mapping[str, Any]
    found: Sequence[Found]


def read_document(spot: Spot, files: Files) -> Document:
    name = spot.place.kind.document
    if name not in spot.entries:
        return Document({}, list(_without(spot)))
    if not spot.can_read(name):
        return Document({}, [])  # What stands there instead is told by its name.
    try:
        raw, _ = files.read(spot.path / name)
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
        return Document({}, [found("unreadable", spot.shown(name), reason)])
    value = decoded(spot.path / name, raw)
    if isinstance(value, Problem):
        return Document({}, [_broken(spot.shown(name), value)])
    return Document(value, [])


def _broken(shown: str, problem: Problem) -> Found:
    line, column = problem.line, problem.column
    return found("broken_document", shown, problem.reason, line=line, column=column)


def _without(spot: Spot) -> Iterator[Found]:
    """A model needs none."""
    if spot.place.kind is THREADS:
        mend = Mend("thread", spot.path, spot.lock)
        name = spot.place.kind.document
        yield found("no_thread_document", spot.shown(), f"has messages and no {name}", mend=mend)


def check_folder(spot: Spot) -> Iterator[Found]:
    """A folder that is no resource's, and holds none."""
    if not spot.where or spot.error or any(spot.folders()) or _holds_file_models(spot):
        return
    if not spot.entries:
        yield found("empty_folder", spot.shown(), "is empty")
    else:
        kind = spot.place.kind
        yield found("no_document", spot.shown(), f"is no {kind.name}: it has no {kind.document}")


def _holds_file_models(spot: Spot) -> bool:
    is_file_model = (is_yml(name) or is_gguf(name) for name in spot.entries)
    return spot.place.kind is MODELS and any(is_file_model)


def check_ids(said: Sequence[Whose]) -> Iterator[Found]:
    """Documents of one kind whose id is not their folder's name, or also another's."""
    by_id = defaultdict(list)
    for whose in sorted(said, key=_order):
        by_id[whose.id].append(whose)
    for id, alike in by_id.items():
        owner = next((whose for whose in alike if _name(whose.spot) == id), None)
        for number, whose in enumerate(alike):
            if whose is owner:
                continue
            other = owner or (alike[0] if number else alike[-1])
            yield _judged(whose, other, is_copy=owner is not None)


def _judged(whose: Whose, other: Whose, *, is_copy: bool) -> Found:
    """`other` says the same id, or is `whose` itself when none does."""
    name = _name(whose.spot)
    if other is whose:
        return _told("other_id", whose, f"but its folder is {name!r}")
    also = f"as {other.spot.shown()} does"
    if not is_copy or whose.id == name:
        return _told("same_id", whose, also)
    kind = whose.spot.place.kind
    # What is not confined may be a link, and is never written through.
    mend = Mend("id", whose.spot.path / kind.document, whose.spot.lock)
    return _told("copied_id", whose, also, mend=mend if kind.is_confined else None)


def _told(code: str, whose: Whose, reason: str, *, mend: Mend | None = None) -> Found:
    file = whose.spot.shown(whose.spot.place.kind.document)
    return found(code, file, f"says that its id is {whose.id!r}, {reason}", mend=mend)


def _order(whose: Whose) -> tuple[bool, str]:
    """The first keeps the id when others have it too."""
    return "/" in whose.spot.where, whose.spot.where


def _name(spot: Spot) -> str:
    """The id that the folder gives."""
    return spot.where if spot.place.kind.layout == "parts" else spot.path.name
